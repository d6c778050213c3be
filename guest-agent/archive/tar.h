// The blocks of a tar archive. POSIX.1-2017, pax, "ustar Interchange Format".
#ifndef TSVM_TAR_H
#define TSVM_TAR_H

enum {
	TAR_BLOCK = 512,
};

// The header of an entry, as on the wire.
struct tar_header {
	char name[100];
	char mode[8];
	char uid[8];
	char gid[8];
	char size[12];
	char mtime[12];
	char checksum[8];
	char type;
	char linkname[100];
	char magic[6];
	char version[2];
	char user[32];
	char group[32];
	char major[8];
	char minor[8];
	char prefix[155];
	char unused[12];
};

#endif
