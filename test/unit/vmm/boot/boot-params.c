// Prints the zero page on its stdin as the kernel's own header reads it, as JSON.
#include <asm/bootparam.h>
#include <stdio.h>

int main(void)
{
	static struct boot_params zero_page;
	if (fread(&zero_page, sizeof zero_page, 1, stdin) != 1)
		return 1;
	const struct setup_header *header = &zero_page.hdr;
	printf("{\"size\":%zu,\"sentinel\":%u,\"boot_flag\":%u,\"header\":%u,\"version\":%u,", sizeof zero_page,
	       zero_page.sentinel, header->boot_flag, header->header, header->version);
	printf("\"type_of_loader\":%u,\"loadflags\":%u,\"ramdisk_image\":%u,\"ramdisk_size\":%u,",
	       header->type_of_loader, header->loadflags, header->ramdisk_image, header->ramdisk_size);
	printf("\"cmd_line_ptr\":%u,\"cmdline_size\":%u,\"setup_data\":%llu,\"pref_address\":%llu,\"init_size\":%u,",
	       header->cmd_line_ptr, header->cmdline_size, (unsigned long long)header->setup_data,
	       (unsigned long long)header->pref_address, header->init_size);
	printf("\"e820\":[");
	for (unsigned i = 0; i < zero_page.e820_entries; i++) {
		const struct boot_e820_entry *entry = &zero_page.e820_table[i];
		printf("%s{\"addr\":%llu,\"size\":%llu,\"type\":%u}", i ? "," : "", (unsigned long long)entry->addr,
		       (unsigned long long)entry->size, entry->type);
	}
	printf("]}\n");
	return 0;
}
