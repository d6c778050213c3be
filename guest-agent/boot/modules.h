// The modules of a distribution's kernel.
#ifndef TSVM_MODULES_H
#define TSVM_MODULES_H

// Loads the modules that the initramfs has, if any, and removes them from it.
void modules_load(void);

#endif
