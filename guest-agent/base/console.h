// Messages on the guest's console.
#ifndef TSVM_CONSOLE_H
#define TSVM_CONSOLE_H

// Writes one line, with the agent's name in front.
void console_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
