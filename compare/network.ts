// A network for one sandbox and what stands for the host, each in a network namespace of its own: a pair
// of virtual Ethernet devices joins them. The host's own network has no part in it.
import { builtFile } from '../installation/index.js';
import { findProgram } from '../programs/index.js';
import { CompareError } from './errors.js';
import { holdNamespace } from './namespace.js';

/** Of the host's side and the sandbox's. */
const [HOST, SANDBOX] = ['10.111.0.1', '10.111.0.2'];

/** Disposal removes it. */
export interface SandboxNetwork extends AsyncDisposable {
  /** A path of the sandbox's network namespace, which has an address and a route to the host's. */
  path: string;
  /** Words that enter the network of the host's side. A command follows. */
  enterHost: readonly [program: string, ...words: string[]];
  /** Words that enter that of the sandbox. */
  enter: readonly [program: string, ...words: string[]];
  /** Where a server answers on the host's side (`tsvm-gauge tcp-host`). */
  address: string;
  port: number;
}

/** Waits with the namespace of the sandbox's side. */
const WAIT = 'ip link set lo up';

/** $1 is a process of the sandbox's side, $2 and $3 the addresses, $4 the gauge. */
const JOIN = `ip link set lo up
ip link add host0 type veth peer name eth0 netns "$1"
ip address add "$2/30" dev host0
ip link set host0 up
nsenter --target "$1" --net sh -ec 'ip address add "$2/30" dev eth0; ip link set eth0 up; ip route add default via "$1"' sh "$2" "$3"
exec "$4" tcp-host "$2"`;

/** @throws CompareError `level`; the reason of `signal` */
export async function openNetwork(signal: AbortSignal): Promise<SandboxNetwork> {
  if (process.geteuid?.() !== 0) throw new CompareError('level', 'networks are made here for root alone');
  if (findProgram('ip') === undefined) throw new CompareError('level', 'ip is not installed: apt-get install iproute2');
  const nsenter = findProgram('nsenter') ?? 'nsenter';
  const sandbox = await holdNamespace(signal, ['--net'], WAIT);
  const words = [String(sandbox.pid), HOST, SANDBOX, builtFile('tsvm-gauge')];
  const host = await holdNamespace(signal, ['--net'], JOIN, ...words).catch(async (error: unknown) => {
    await sandbox[Symbol.asyncDispose]();
    throw error;
  });
  return {
    path: `/proc/${sandbox.pid}/ns/net`,
    enterHost: [nsenter, `--net=/proc/${host.pid}/ns/net`],
    enter: [nsenter, `--net=/proc/${sandbox.pid}/ns/net`],
    address: HOST,
    port: Number(host.said),
    async [Symbol.asyncDispose]() {
      for (const each of [host, sandbox]) await each[Symbol.asyncDispose]();
    },
  };
}
