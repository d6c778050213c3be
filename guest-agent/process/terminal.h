// Pseudo-terminals of the container.
#ifndef TSVM_TERMINAL_H
#define TSVM_TERMINAL_H

#include <stdint.h>

#include "protocol/failure.h"

// Opens a terminal in the container's /dev/pts. Called inside the container.
bool terminal_open(uint16_t columns, uint16_t rows, int *master, int *slave, struct failure *failure);

// Makes the terminal the container's /dev/console.
bool terminal_bind_console(int master, struct failure *failure);

bool terminal_resize(int master, uint16_t columns, uint16_t rows, struct failure *failure);

#endif
