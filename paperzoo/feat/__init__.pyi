from .adaptation import SetToSet as SetToSet
from .adaptation import class_centers as class_centers
from .classifier import FEATClassifier as FEATClassifier
