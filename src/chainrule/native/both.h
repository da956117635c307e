/* kernels.h for double and for float, with the instruction set that executor.c has chosen: SET names it. */

#define VD(name) GLUE(GLUE(vm_##name##_, SET), _d)

#define T double
#define T_IS_DOUBLE
#define VM(name) GLUE(GLUE(vm_##name##_, SET), _d)
#define K(name) GLUE(GLUE(name##_, SET), _d)
#include "kernels.h"
#undef T
#undef T_IS_DOUBLE
#undef VM
#undef K

#define T float
#define VM(name) GLUE(GLUE(vm_##name##_, SET), _s)
#define K(name) GLUE(GLUE(name##_, SET), _s)
#include "kernels.h"
#undef T
#undef VM
#undef K
#undef VD
