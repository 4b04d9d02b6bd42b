#define FRIEDEL_KERNELS kernels_avx2
#include "scatter_kernels.hpp"
