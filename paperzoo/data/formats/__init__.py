"""Annotation formats as people and tools export them, read into one description.

| file | what |
| --- | --- |
| `description` | images, objects, classes: what every reader returns |
| `folder` | the files below a folder, found by name; safe reading |
| `coco` `yolo` `voc` `labelme` `cvat` | one reader each, of objects |
| `masks` `class_folders` | likewise, of label maps and of classes |
| `recognise` | which of them a folder is |
| `splitting` | validation images chosen by a seed |
| `detection` `semantic` | the registered data sets on top of the readers |

Nothing that is read is executed, and no name in an annotation leads out of the folder.
"""
