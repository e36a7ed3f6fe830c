"""Images with their label masks: one dataset a layout, all of them giving `Sample`s.

Those below that `described` has marked are known to recipes and `densefield kinds`.
"""

from densefield.data.audit import Audit as Audit
from densefield.data.camvid import CamVid as CamVid
from densefield.data.cell_images import CellImages as CellImages
from densefield.data.cell_tracking import CellFrames as CellFrames
from densefield.data.cell_tracking import cell_tracking as cell_tracking
from densefield.data.cityscapes import cityscapes as cityscapes
from densefield.data.folder import Folder as Folder
from densefield.data.folder import folder as folder
from densefield.data.gatech import gatech as gatech
from densefield.data.published import Published as Published
from densefield.data.sample import Sample as Sample
from densefield.data.sample_scenes import SampleScenes as SampleScenes
from densefield.data.sample_scenes import samples as samples
from densefield.data.slic import superpixels as superpixels
from densefield.data.voc import voc as voc
