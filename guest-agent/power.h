// The end of the machine, and messages to its console.
#ifndef TSVM_POWER_H
#define TSVM_POWER_H

// A line on the guest's console.
void console_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Says why on the console and stops the machine.
_Noreturn void power_fail(const char *why);

// Kills all processes, writes the disks out and stops the machine.
_Noreturn void power_off(void);

#endif
