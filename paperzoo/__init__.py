"""paperzoo: papers as MMEngine components. Importing it loads neither torch nor mm*."""

__version__ = '0.1.0'
