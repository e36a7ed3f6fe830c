/* The whole of the native library's face: plain C, so that ctypes loads one binary from every Python and every torch.
 *
 * Each function returns a df_status; buffers are contiguous and belong to the caller; `n_threads` says how many threads
 * may work (results do not depend on it). A kernel declares its functions, df_<op>_<what>_{f32,f64}, in its own header.
 */
#ifndef DENSEFIELD_H
#define DENSEFIELD_H

#include <stdint.h>

#if defined(_WIN32)
#define DF_API __declspec(dllexport)
#else
#define DF_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum df_status { DF_OK = 0, DF_BAD_ARGUMENT = 1, DF_OUT_OF_MEMORY = 2, DF_FAILED = 3 };

/* Memory for a caller's large results, aligned to large pages. Given back, it waits for the next call (memory.cpp). */
DF_API int df_memory_take(int64_t bytes, void** memory);
DF_API int df_memory_release(void* memory);

/* The instruction set in use: "baseline", "avx2" or "avx512". */
DF_API const char* df_cpu(void);

#ifdef __cplusplus
}
#endif

#endif
