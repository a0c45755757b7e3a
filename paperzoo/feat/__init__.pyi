from .adaptation import SetToSet as SetToSet
from .classifier import FEATClassifier as FEATClassifier
