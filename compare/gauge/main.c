// tsvm-gauge: the program of `tsvm compare` that runs inside of each level. It is static, so that it
// needs nothing of the image.
#include "gauge.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void end(int signal)
{
	(void)signal;
	_exit(0);
}

static void say_ready(void)
{
	signal(SIGTERM, end);
	if (write(STDOUT_FILENO, "ready\n", 6) != 6)
		gauge_fail("write");
}

/** Idles until it is told to end. It may be process 1. */
static _Noreturn void idle(void)
{
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	if (gauge_is_init())
		gauge_init();
	if (argc == 2 && strcmp(argv[1], "idle") == 0) {
		say_ready();
		idle();
	}
	if (argc >= 4 && strcmp(argv[1], "work") == 0) {
		say_ready();
		gauge_work(argv[2], argv + 3);
	}
	if (argc == 3 && strcmp(argv[1], "go") == 0)
		return gauge_go(argv[2]);
	if (argc == 2 && strcmp(argv[1], "nothing") == 0)
		return 0;
	if (argc >= 5 && strcmp(argv[1], "measure") == 0)
		return gauge_measure(strtoull(argv[2], NULL, 10) * 1000000, argv[3], argv + 4);
	if (argc >= 6 && strcmp(argv[1], "tcp") == 0) {
		say_ready();
		gauge_address = argv[3];
		gauge_port = (uint16_t)atoi(argv[4]);
		gauge_measure(strtoull(argv[2], NULL, 10) * 1000000, "/", argv + 5);
		puts("done");
		fflush(stdout);
		idle();
	}
	if (argc == 3 && strcmp(argv[1], "tcp-host") == 0)
		return gauge_tcp_host(argv[2]);
	if (argc == 3 && strcmp(argv[1], "filters") == 0)
		return gauge_filters(atoi(argv[2]));
	if (argc >= 4 && strcmp(argv[1], "reached") == 0)
		return gauge_reached(argv[2], argv + 3);
	if (argc == 3 && strcmp(argv[1], "try") == 0)
		return gauge_try(argv[2]);
	if (argc >= 4 && strcmp(argv[1], "within") == 0)
		return gauge_within(argv[2], argv + 3);
	if (argc >= 4 && strcmp(argv[1], "run") == 0)
		return gauge_run(argv[2], argv + 3);
	if (argc == 6 && strcmp(argv[1], "probe") == 0)
		return gauge_probe(argv + 2);
	if (argc >= 4 && strcmp(argv[1], "serve") == 0)
		return gauge_serve(argv[2], argv + 3);
	if (argc >= 5 && strcmp(argv[1], "ask") == 0)
		return gauge_ask(argv[2], argv[3], argv + 4);
	fputs("usage: tsvm-gauge idle | work FOLDER NAME... | go FOLDER | nothing |\n"
	      "       measure MILLISECONDS FOLDER NAME... | run FOLDER COMMAND... |\n"
	      "       probe PID PORT ADDRESS NAME | filters PID | try FILTER | within FILTER COMMAND... |\n"
	      "       reached NAME THREAD... | tcp MILLISECONDS ADDRESS PORT NAME... | tcp-host ADDRESS |\n"
	      "       serve CHANNEL COMMAND... | ask SOCKET PORT COMMAND...\n",
	      stderr);
	return GAUGE_FAILED;
}
