#define FRIEDEL_KERNELS kernels_baseline
#include "scatter_kernels.hpp"
