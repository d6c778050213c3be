// A socket to the routes of the network namespace in which it was made (rtnetlink(7)).
import * as libc from '../host/libc.js';

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const NETLINK_ROUTE = 0;

/** @throws libc.SystemError */
export function openRouteSocket(): number {
  return libc.check(
    libc.socket(AF_NETLINK, SOCK_RAW | libc.SOCK_CLOEXEC | libc.SOCK_NONBLOCK, NETLINK_ROUTE),
    'socket',
  );
}
