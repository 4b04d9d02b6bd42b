// Each source file of the extension binds its own functions; module.cpp only lists them.
#pragma once
#include <nanobind/nanobind.h>

namespace friedel {
void bind_backprojection(nanobind::module_ &m);
void bind_filtering(nanobind::module_ &m);
void bind_gather(nanobind::module_ &m);
void bind_gridding(nanobind::module_ &m);
void bind_version(nanobind::module_ &m);
void bind_poisson(nanobind::module_ &m);
void bind_splitting(nanobind::module_ &m);
void bind_decode(nanobind::module_ &m);
void bind_scatter(nanobind::module_ &m);
void bind_robust(nanobind::module_ &m);
}
