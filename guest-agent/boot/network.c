// Configures the interface by ioctl(2), netdevice(7), and by rtnetlink(7). There is little to set, and
// each step has its own errno.
#include "boot/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/console.h"
#include "base/linux.h"

enum {
	IPV4_BITS = 32,
	IPV6_BITS = 128,
};

struct address {
	int family;
	union {
		struct in_addr ipv4;
		struct in6_addr ipv6;
	};
	unsigned prefix;
};

static bool parse_prefix(const char *text, unsigned bits, unsigned *prefix)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	*prefix = (unsigned)value;
	return *text >= '0' && *text <= '9' && *end == '\0' && value <= bits;
}

// `198.19.0.2/32`, or an address alone.
static bool parse_address(const char *text, struct address *address, struct failure *failure)
{
	char host[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	size_t length = slash != NULL ? (size_t)(slash - text) : strlen(text);
	unsigned bits;

	if (length >= sizeof host)
		return fail(failure, ERROR_BAD_REQUEST, 0, "network: not an address: %.64s", text);
	memcpy(host, text, length);
	host[length] = '\0';
	address->family = strchr(host, ':') != NULL ? AF_INET6 : AF_INET;
	bits = address->family == AF_INET6 ? IPV6_BITS : IPV4_BITS;
	address->prefix = bits;
	if (inet_pton(address->family, host, &address->ipv6) != 1 ||
	    (slash != NULL && !parse_prefix(slash + 1, bits, &address->prefix)))
		return fail(failure, ERROR_BAD_REQUEST, 0, "network: not an address: %.64s", text);
	return true;
}

static struct sockaddr socket_address(struct in_addr address)
{
	const struct sockaddr_in internet = { .sin_family = AF_INET, .sin_addr = address };
	struct sockaddr any;

	memcpy(&any, &internet, sizeof any);
	return any;
}

static struct in_addr netmask(unsigned prefix)
{
	return (struct in_addr){ .s_addr = prefix == 0 ? 0 : htonl(UINT32_MAX << (IPV4_BITS - prefix)) };
}

struct interface {
	const char *name;
	int index;
	int ipv4; // a socket of each family to configure it with; -1: unknown to the kernel
	int ipv6;
	int netlink;
};

static struct ifreq request_for(const struct interface *interface)
{
	struct ifreq request = { 0 };

	memcpy(request.ifr_name, interface->name, strlen(interface->name));
	return request;
}

// A request of rtnetlink(7): its header, and room for a message with its attributes.
struct netlink_request {
	struct nlmsghdr header;
	uint8_t bytes[1024];
};

// Both the lengths of messages and those of attributes are aligned so.
static size_t aligned(size_t length)
{
	return (length + 3) & ~(size_t)3;
}

static void append(struct netlink_request *request, const void *bytes, size_t length)
{
	const size_t start = aligned(request->header.nlmsg_len);

	memcpy(request->bytes + start - sizeof request->header, bytes, length);
	request->header.nlmsg_len = (uint32_t)(start + length);
}

static void append_attribute(struct netlink_request *request, uint16_t type, const void *value, size_t length)
{
	const struct rtattr attribute = { .rta_len = (uint16_t)(sizeof attribute + length), .rta_type = type };

	append(request, &attribute, sizeof attribute);
	append(request, value, length);
}

// The kernel answers before send returns. Sets errno.
static bool ask(const struct interface *interface, struct netlink_request *request, uint16_t type, uint16_t flags)
{
	struct {
		struct nlmsghdr header;
		int error;
		struct netlink_request asked;
	} answer;

	request->header.nlmsg_type = type;
	request->header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | flags;
	if (send(interface->netlink, request, request->header.nlmsg_len, 0) < 0 ||
	    recv(interface->netlink, &answer, sizeof answer, 0) < (ssize_t)offsetof(__typeof__(answer), asked))
		return false;
	errno = -answer.error;
	return errno == 0;
}

static bool add_address(const struct interface *interface, const struct address *address, bool bare)
{
	const size_t length = address->family == AF_INET6 ? sizeof address->ipv6 : sizeof address->ipv4;
	struct netlink_request request = { .header.nlmsg_len = sizeof request.header };
	const struct ifaddrmsg message = {
		.ifa_family = (uint8_t)address->family,
		.ifa_prefixlen = (uint8_t)address->prefix,
		.ifa_index = (uint32_t)interface->index,
	};
	const uint32_t flags = bare ? IFA_F_NOPREFIXROUTE : 0;

	append(&request, &message, sizeof message);
	append_attribute(&request, IFA_LOCAL, &address->ipv6, length);
	append_attribute(&request, IFA_ADDRESS, &address->ipv6, length);
	append_attribute(&request, IFA_FLAGS, &flags, sizeof flags);
	if (address->family == AF_INET && address->prefix < IPV4_BITS - 1) {
		const uint32_t broadcast = address->ipv4.s_addr | ~netmask(address->prefix).s_addr;

		append_attribute(&request, IFA_BROADCAST, &broadcast, sizeof broadcast);
	}
	return ask(interface, &request, RTM_NEWADDR, NLM_F_EXCL) || errno == EEXIST;
}

static bool parse_hexadecimal(const char *text, uint8_t *bytes, size_t length)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < 2 * length; i++) {
		const char *digit = strchr(digits, text[i]);

		if (digit == NULL)
			return false;
		bytes[i / 2] = (uint8_t)(bytes[i / 2] << 4 | (digit - digits));
	}
	return true;
}

// The interface has another number than on the host.
static void set_interface(uint8_t *route, size_t length, int index)
{
	struct rtattr attribute;

	for (size_t at = RTMSG_LENGTH; at + sizeof attribute <= length; at += aligned(attribute.rta_len)) {
		memcpy(&attribute, route + at, sizeof attribute);
		if (attribute.rta_len < sizeof attribute || attribute.rta_len > length - at)
			break;
		if (attribute.rta_type == RTA_OIF && attribute.rta_len == sizeof attribute + sizeof index)
			memcpy(route + at + sizeof attribute, &index, sizeof index);
	}
}

static bool add_route(const struct interface *interface, const char *text, struct failure *failure)
{
	struct netlink_request request = { 0 };
	const size_t length = strlen(text) / 2;

	if (length < RTMSG_LENGTH || length > sizeof request.bytes || strlen(text) % 2 != 0 ||
	    !parse_hexadecimal(text, request.bytes, length))
		return fail(failure, ERROR_BAD_REQUEST, 0, "network: not a route: %.64s", text);
	set_interface(request.bytes, length, interface->index);
	request.header.nlmsg_len = (uint32_t)(sizeof request.header + length);
	// Two interfaces may have the same one.
	return ask(interface, &request, RTM_NEWROUTE, NLM_F_APPEND) || errno == EEXIST ||
	       fail(failure, ERROR_SETUP_FAILED, errno, "route %.64s", text);
}

static bool add_ipv4_route(const struct interface *interface, struct in_addr to, unsigned prefix, struct in_addr via)
{
	char name[IFNAMSIZ];
	struct rtentry route = {
		.rt_dst = socket_address(to),
		.rt_genmask = socket_address(netmask(prefix)),
		.rt_gateway = socket_address(via),
		.rt_flags = (unsigned short)(RTF_UP | (via.s_addr != 0 ? RTF_GATEWAY : 0)),
		.rt_dev = name,
	};

	snprintf(name, sizeof name, "%s", interface->name);
	return ioctl(interface->ipv4, SIOCADDRT, &route) == 0 || errno == EEXIST;
}

// The gateway may be outside the address's network, so it gets a route of its own as a neighbour.
static bool add_gateway(const struct interface *interface, const struct address *gateway)
{
	const struct in_addr none = { 0 };
	struct in6_rtmsg neighbour = { .rtmsg_dst = gateway->ipv6,
				       .rtmsg_dst_len = IPV6_BITS,
				       .rtmsg_flags = RTF_UP,
				       .rtmsg_metric = 1,
				       .rtmsg_ifindex = interface->index };
	struct in6_rtmsg route = { .rtmsg_gateway = gateway->ipv6,
				   .rtmsg_flags = RTF_UP | RTF_GATEWAY,
				   .rtmsg_metric = 1,
				   .rtmsg_ifindex = interface->index };

	if (gateway->family == AF_INET)
		return add_ipv4_route(interface, gateway->ipv4, IPV4_BITS, none) &&
		       add_ipv4_route(interface, none, 0, gateway->ipv4);
	return (ioctl(interface->ipv6, SIOCADDRT, &neighbour) == 0 || errno == EEXIST) &&
	       ioctl(interface->ipv6, SIOCADDRT, &route) == 0;
}

static void write_ipv6_setting(const char *interface, const char *name, const char *value)
{
	char path[128];
	int file;

	snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/%s", interface, name);
	file = open(path, O_WRONLY | O_CLOEXEC);
	if (file < 0)
		return; // the kernel has no IPv6
	if (write(file, value, strlen(value)) < 0)
		console_log("%s: %s", path, strerror(errno));
	close(file);
}

// `52:54:00:12:34:56`
static bool parse_mac(const char *text, uint8_t mac[ETH_ALEN])
{
	char rest;

	return strlen(text) == 3 * ETH_ALEN - 1 &&
	       sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%c", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
		      &mac[5], &rest) == ETH_ALEN;
}

static bool set_mac(const struct interface *interface, const char *text, struct failure *failure)
{
	struct ifreq request = request_for(interface);
	uint8_t mac[ETH_ALEN];

	if (!parse_mac(text, mac))
		return fail(failure, ERROR_BAD_REQUEST, 0, "network: not a hardware address: %s", text);
	request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
	memcpy(request.ifr_hwaddr.sa_data, mac, sizeof mac);
	return ioctl(interface->ipv4, SIOCSIFHWADDR, &request) == 0 ||
	       fail(failure, ERROR_SETUP_FAILED, errno, "hardware address %s", text);
}

// The kernel forgets routes, neighbours and IPv6 addresses of an interface that goes down.
static bool take_down(const struct interface *interface)
{
	const struct in_addr none = { 0 };
	struct ifreq request = request_for(interface);

	if (ioctl(interface->ipv4, SIOCGIFFLAGS, &request) != 0)
		return false;
	request.ifr_flags = (short)(request.ifr_flags & ~IFF_UP);
	if (ioctl(interface->ipv4, SIOCSIFFLAGS, &request) != 0)
		return false;
	request = request_for(interface);
	request.ifr_addr = socket_address(none);
	return ioctl(interface->ipv4, SIOCSIFADDR, &request) == 0;
}

static bool bring_up(struct interface *interface)
{
	struct ifreq request = request_for(interface);

	if (ioctl(interface->ipv4, SIOCGIFINDEX, &request) != 0)
		return false;
	interface->index = request.ifr_ifindex;
	// No other machine has the address, and the host alone sets the routes.
	write_ipv6_setting(interface->name, "accept_dad", "0");
	write_ipv6_setting(interface->name, "accept_ra", "0");
	request = request_for(interface);
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	return ioctl(interface->ipv4, SIOCSIFFLAGS, &request) == 0;
}

static bool configure(struct interface *interface, const struct network_spec *network, struct failure *failure)
{
	struct address address;

	if (network->mac != NULL && !set_mac(interface, network->mac, failure))
		return false;
	if (!bring_up(interface))
		return fail(failure, ERROR_SETUP_FAILED, errno, "network interface %s", interface->name);
	for (size_t i = 0; i < network->addresses.count; i++) {
		if (!parse_address(network->addresses.items[i], &address, failure))
			return false;
		if (!add_address(interface, &address, network->routes.count > 0))
			return fail(failure, ERROR_SETUP_FAILED, errno, "address %s", network->addresses.items[i]);
	}
	for (size_t i = 0; i < network->gateways.count; i++) {
		if (!parse_address(network->gateways.items[i], &address, failure))
			return false;
		if (!add_gateway(interface, &address))
			return fail(failure, ERROR_SETUP_FAILED, errno, "gateway %s", network->gateways.items[i]);
	}
	for (size_t i = 0; i < network->routes.count; i++) {
		if (!add_route(interface, network->routes.items[i], failure))
			return false;
	}
	return true;
}

static bool open_and_configure(const struct network_spec *network, bool again, struct failure *failure)
{
	struct interface interface = { .name = network->interface };
	bool configured;

	interface.ipv4 = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	interface.ipv6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	interface.netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (again && !take_down(&interface))
		configured = fail(failure, ERROR_SETUP_FAILED, errno, "take %s down", interface.name);
	else
		configured = configure(&interface, network, failure);
	if (interface.ipv4 >= 0)
		close(interface.ipv4);
	if (interface.ipv6 >= 0)
		close(interface.ipv6);
	if (interface.netlink >= 0)
		close(interface.netlink);
	return configured;
}

bool network_configure(const struct network_spec *network, struct failure *failure)
{
	return open_and_configure(network, false, failure);
}

bool network_configure_again(const struct network_spec *network, struct failure *failure)
{
	return open_and_configure(network, true, failure);
}
