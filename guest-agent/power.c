// The end of the machine.
#include "power.h"

#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

#include "boot/boot.h"
#include "container/container.h"
#include "process/process.h"

// The machine has no ACPI to power it off. It stops at a reset by the i8042, which is what a reboot
// does with the kernel parameter `reboot=k`.
static const int stop_machine = RB_AUTOBOOT;

_Noreturn static void stop(void)
{
	if (boot_is_machine())
		reboot(stop_machine);
	_exit(0);
}

_Noreturn void power_off(void)
{
	process_kill_all();
	while (wait(NULL) > 0)
		;
	container_remove_all();
	stop();
}
