#include "base/parallel.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#if !defined(_WIN32)
#include <pthread.h>
#endif

#include "base/denormals.h"
#include "base/memory.h"

namespace densefield {
namespace {

// Chunks [begin, end) that are still to be done: taken from the front by the thread whose they are, from the back by those
// that have no more of their own.
class alignas(64) Share {
public:
    void set(int64_t begin, int64_t end) { range_.store(pack(begin, end), std::memory_order_relaxed); }
    bool take(bool own, int64_t& chunk) {
        uint64_t range = range_.load(std::memory_order_relaxed);
        for (;;) {
            const int64_t begin = static_cast<int64_t>(range >> 32), end = static_cast<int64_t>(range & 0xffffffffu);
            if (begin >= end) return false;
            chunk = own ? begin : end - 1;
            const uint64_t rest = own ? pack(begin + 1, end) : pack(begin, end - 1);
            if (range_.compare_exchange_weak(range, rest, std::memory_order_relaxed)) return true;
        }
    }

private:
    static uint64_t pack(int64_t begin, int64_t end) {
        return static_cast<uint64_t>(begin) << 32 | static_cast<uint64_t>(end);
    }
    std::atomic<uint64_t> range_{0};
};

// Each thread has a share of neighbouring chunks, so that it meets again, in the next job, what is in its own caches. In an
// ordered job there is one share.
struct Job {
    ChunkTask task;
    void* context;
    int shares;
    std::unique_ptr<Share[]> share;
    std::mutex lock;
    std::exception_ptr failure;

    Job(ChunkTask task, void* context, int64_t chunks, int shares)
        : task(task), context(context), shares(shares), share(new Share[static_cast<size_t>(shares)]) {
        for (int i = 0; i < shares; ++i) share[i].set(i * chunks / shares, (i + 1) * chunks / shares);
    }

    void drain(int slot) {
        for (int i = 0; i < shares; ++i) {
            const bool own = i == 0;
            int64_t chunk;
            while (share[(slot + i) % shares].take(own, chunk)) {
                try {
                    task(context, chunk, slot);
                } catch (...) {
                    for (int other = 0; other < shares; ++other) share[other].set(0, 0);
                    std::lock_guard<std::mutex> guard(lock);
                    if (!failure) failure = std::current_exception();
                }
            }
        }
    }
};

// A short wait for what comes soon, before the thread goes to sleep: waking it takes longer than many a loop.
template <class Done>
bool spin_until(const Done& done) {
    for (int turn = 0; turn < 4000; ++turn) {
        if (done()) return true;
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        asm volatile("yield");
#endif
    }
    return false;
}

using Flag = std::atomic<unsigned char>;

Flag* flags_of(void* memory) { return static_cast<Flag*>(memory); }

class Pool {
public:
    // False where another job holds the pool.
    bool run(Job& job, int helpers) {
        if (busy_.exchange(true, std::memory_order_acquire)) return false;
        {
            std::lock_guard<std::mutex> guard(lock_);
            grow(helpers);
            job_ = &job;
            places_ = std::min(helpers, workers_);
            slots_ = 0;
            jobs_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
        job.drain(0);
        {
            std::unique_lock<std::mutex> guard(lock_);
            places_ = 0;  // who has not joined by now finds nothing left to do
            guard.unlock();
            spin_until([this] { return active_.load(std::memory_order_acquire) == 0; });
            guard.lock();
            idle_.wait(guard, [this] { return active_ == 0; });
            job_ = nullptr;
        }
        busy_.store(false, std::memory_order_release);
        return true;
    }

private:
    void grow(int helpers) {
        try {
            for (; workers_ < helpers; ++workers_) std::thread([this] { work(); }).detach();
        } catch (const std::system_error&) {
            // The system gives no more threads; those there are do the work.
        }
    }

    [[noreturn]] void work() {
        const FlushDenormals flush;  // a thread of jobs, and of nothing else
        std::unique_lock<std::mutex> guard(lock_);
        for (;;) {
            wake_.wait(guard, [this] { return places_ > 0; });
            --places_;
            ++active_;
            const int slot = ++slots_;
            Job* const job = job_;
            guard.unlock();
            job->drain(slot);
            guard.lock();
            if (--active_ == 0) idle_.notify_one();
            const int seen = jobs_.load(std::memory_order_relaxed);
            guard.unlock();
            spin_until([this, seen] { return jobs_.load(std::memory_order_acquire) != seen; });
            guard.lock();
        }
    }

    std::atomic<bool> busy_{false};
    std::mutex lock_;
    std::condition_variable wake_, idle_;
    Job* job_ = nullptr;
    std::atomic<int> jobs_{0}, active_{0};
    int workers_ = 0, places_ = 0, slots_ = 0;
};

// Never destroyed: threads may still wait in it while the process exits.
std::atomic<Pool*> the_pool{nullptr};

Pool& pool() {
    Pool* current = the_pool.load(std::memory_order_acquire);
    if (current == nullptr) {
        // Without a lock, since a lock held during a fork would stay locked in the child.
        Pool* const fresh = new Pool;
        if (the_pool.compare_exchange_strong(current, fresh)) {
            current = fresh;
        } else {
            delete fresh;
        }
    }
    return *current;
}

#if !defined(_WIN32)
// Threads do not survive a fork: the child leaves the parent's pool behind and makes its own at first use.
[[maybe_unused]] const int at_fork = pthread_atfork(nullptr, nullptr, [] { the_pool.store(nullptr); });
#endif

}  // namespace

Signals::Signals(int64_t count) : flags_(allocate(count)) {
    for (int64_t i = 0; i < count; ++i) new (flags_of(flags_) + i) Flag(0);
}

Signals::~Signals() { release(flags_); }

void Signals::set(int64_t i) { flags_of(flags_)[i].store(1, std::memory_order_release); }

void Signals::wait_for(int64_t i) const {
    const Flag& flag = flags_of(flags_)[i];
    while (!spin_until([&flag] { return flag.load(std::memory_order_acquire) != 0; })) std::this_thread::yield();
}

void run_chunks(int64_t chunks, int n_threads, ChunkTask task, void* context, bool ordered) {
    const int threads = static_cast<int>(std::min<int64_t>(n_threads, chunks));
    Job job(task, context, chunks, ordered || threads <= 1 ? 1 : threads);
    if (threads <= 1 || !pool().run(job, threads - 1)) job.drain(0);
    if (job.failure) std::rethrow_exception(job.failure);
}

}  // namespace densefield
