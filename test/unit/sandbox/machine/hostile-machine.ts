// A machine process in the hand of a hostile guest. It asks its owner for a socket that it may have, takes
// the filter of a machine process, and tries to turn the socket to where it may not go. Its owner's
// command line says which.
import { compile, processProfile } from '../../../../vmm/accel/system-calls.js';
import { EventLoop } from '../../../../vmm/host/event-loop.js';
import * as libc from '../../../../vmm/host/libc.js';
import { filterProcess, placeFilter } from '../../../../vmm/host/seccomp.js';
import { CONTROL_FD, type MachineSpec } from '../../../../vmm/machine.js';
import { SocketAddress } from '../../../../vmm/outside/socket-address.js';
import { AskedSockets } from '../../../../vmm/process/asked-sockets.js';
import { ControlSocket } from '../../../../vmm/process/control.js';

/** In the specification's command line, as JSON. */
export interface Attack {
  carried: 'tcp' | 'udp';
  isFiltered: boolean;
  /** What it may reach, as the guest sees it, and the port of the host that it may not. */
  allowed: [words: number[], port: number];
  closed: number;
}

const LOOPBACK = Uint32Array.of(0, 0, 0xffff, 0x7f000001);
const loop = new EventLoop();

function attack({ carried, isFiltered, closed }: Attack, fd: number): never {
  if (isFiltered) {
    const parts = {
      hasShares: true,
      slot: 9,
      firstKept: 64,
      hasBudget: true,
      hasNetwork: true,
      hasRelay: true,
      canSwitchUser: true,
    };
    filterProcess(placeFilter(compile(processProfile({ ...parts, isEmulated: true }, 'kill'))));
  }
  const bytes = Buffer.from(carried);
  const address = new SocketAddress();
  // AF_UNSPEC: the socket has no peer any more.
  libc.connect(fd, address.bytes, 16);
  address.set(LOOPBACK, closed);
  libc.connect(fd, address.bytes, address.length);
  // The connection of TCP, on this host, takes no time.
  for (let turn = 0; turn < 1000 && libc.write(fd, bytes, bytes.length) < 0; turn++) loop.poll(1);
  libc._exit(9);
  throw new Error('_exit returned');
}

const control: ControlSocket = new ControlSocket(
  CONTROL_FD,
  loop,
  (request) => {
    if (request.type === 'files') control.takeDescriptors(request.names.length);
    if (request.type === 'connected') {
      sockets.answered(request.answers, (count) => control.takeDescriptors(count));
    }
    if (request.type !== 'boot') return;
    const spec: MachineSpec = request.spec;
    const words: Attack = JSON.parse(spec.commandLine);
    const [address, port] = words.allowed;
    sockets.connect(words.carried, 40000, Uint32Array.from(address), port, (fd) => attack(words, fd));
  },
  () => libc._exit(8),
);
const sockets = new AskedSockets(loop, (asked) => control.send(asked));
loop.run();
