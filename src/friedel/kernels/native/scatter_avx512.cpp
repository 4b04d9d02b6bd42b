#define FRIEDEL_KERNELS kernels_avx512
#include "scatter_kernels.hpp"
