// The end of the machine.
#ifndef TSVM_POWER_H
#define TSVM_POWER_H

// Kills all processes, writes the disks out and stops the machine.
_Noreturn void power_off(void);

#endif
