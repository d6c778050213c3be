// Runs the pump of the OCI runtime (oci/command/pump.c) for pump.host.test.ts.
//     pump-owner SOCKET terminal|pipes
// Descriptor 3 is the keeper's.
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "oci.h"

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int streams = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (argc != 3 || streams < 0)
		return 2;
	snprintf(address.sun_path, sizeof address.sun_path, "%s", argv[1]);
	if (bind(streams, (const struct sockaddr *)&address, sizeof address) != 0 || listen(streams, 8) != 0)
		return 2;
	send_line(3, "listening\n");
	pump(3, streams, strcmp(argv[2], "terminal") == 0, -1);
}
