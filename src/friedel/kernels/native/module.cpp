#include "bindings.hpp"

NB_MODULE(_native, m) {
    m.doc() = "Compiled twins of friedel's numpy reference kernels";
    friedel::bind_backprojection(m);
    friedel::bind_filtering(m);
    friedel::bind_gather(m);
    friedel::bind_gridding(m);
    friedel::bind_version(m);
    friedel::bind_poisson(m);
    friedel::bind_splitting(m);
    friedel::bind_decode(m);
    friedel::bind_scatter(m);
    friedel::bind_robust(m);
}
