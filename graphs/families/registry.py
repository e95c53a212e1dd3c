"""All model families. A new family is a new module of this package, which is imported and listed here."""

from graphs.families.family import Family
from graphs.families.flux import FLUX
from graphs.families.flux_fill import FLUX_FILL
from graphs.families.lcm import LCM
from graphs.families.sd import SD
from graphs.families.sd3 import SD3
from graphs.families.sdxl import SDXL

FAMILIES: tuple[Family, ...] = (SD, LCM, SDXL, SD3, FLUX, FLUX_FILL)
BY_CLASS_NAME = {class_name: family for family in FAMILIES for class_name in family.class_names}
