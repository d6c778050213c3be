// The loopback interface of a network namespace of others. One socket takes the connections to all
// of its TCP ports: a program of the kernel's (BPF_PROG_TYPE_SK_LOOKUP, bpf(2)) gives them to it,
// in that namespace alone.
import { closeSync, openSync, readFileSync } from 'node:fs';
import { hasCode } from '../../errors/index.js';
import * as libc from '../host/libc.js';
import { inNetworkNamespace } from './network-namespace.js';
import { SocketAddress } from './socket-address.js';

export interface Loopback {
  /** Listens. What it accepts has the address that its client asked for. */
  socket: number;
  /** The program holds until this is closed. It goes away with the namespace too. */
  link: number;
}

/** Connections that may wait to be accepted. */
const BACKLOG = 64;
/** Ports at which others listen. With more of them, the namespace is left alone. */
const MOST_PORTS = 256;

// linux/bpf.h
const SYS_BPF = 321;
const BPF_MAP_CREATE = 0;
const BPF_MAP_UPDATE_ELEM = 2;
const BPF_PROG_LOAD = 5;
const BPF_LINK_CREATE = 28;
const BPF_MAP_TYPE_SOCKMAP = 15;
const BPF_PROG_TYPE_SK_LOOKUP = 30;
const BPF_SK_LOOKUP = 36;
const ATTRIBUTES = 72;

/** What calls read: their attributes, and what those point to. */
const ATTRIBUTES_AT = 0;
const KEY_AT = 128;
const VALUE_AT = 136;
const LICENSE_AT = 144;
const CODE_AT = 256;
const ARENA = 4096;

/**
 * Takes the connections to all TCP ports of the loopback addresses, IPv4 and IPv6, but for those at
 * which others listen already.
 * @param namespace path of the network namespace
 * @param isNew it was made for this machine
 * @returns undefined if the kernel cannot, or lets this user not
 * @throws MachineError `no-network` for the host's own namespace, and for what is none
 */
export function openLoopback(namespace: string, isNew = false): Loopback | undefined {
  return inNetworkNamespace(
    namespace,
    () => {
      try {
        return open();
      } catch (error) {
        if (error instanceof libc.SystemError) return undefined;
        throw error;
      }
    },
    isNew,
  );
}

function open(): Loopback | undefined {
  const taken = listeningPorts();
  if (taken.length > MOST_PORTS) return undefined;
  const socket = listen();
  try {
    return { socket, link: attach(socket, taken) };
  } catch (error) {
    libc.close(socket);
    throw error;
  }
}

/** Those of this thread's namespace. */
function listeningPorts(): number[] {
  const lines = ['tcp', 'tcp6'].map((name) => readTable(`/proc/thread-self/net/${name}`)).join('\n');
  // Number, own address and port, the other one's, and TCP_LISTEN.
  const ports = [...lines.matchAll(/^ *\d+: [0-9A-F]+:([0-9A-F]{4}) \S+ 0A /gm)].map(([, port = '']) => {
    return Number.parseInt(port, 16);
  });
  return [...new Set(ports)];
}

/** A kernel without IPv6 has no table of it. */
function readTable(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return '';
    throw error;
  }
}

/** A socket of IPv6 has those of IPv4 too. */
function listen(): number {
  const flags = libc.SOCK_STREAM | libc.SOCK_CLOEXEC;
  const found = libc.socket(libc.AF_INET6, flags, 0);
  const family = found < 0 ? libc.AF_INET : libc.AF_INET6;
  const socket = found < 0 ? libc.check(libc.socket(family, flags, 0), 'socket') : found;
  try {
    if (family === libc.AF_INET6) {
      const off = Int32Array.of(0);
      libc.check(libc.setsockopt(socket, libc.IPPROTO_IPV6, libc.IPV6_V6ONLY, off, off.byteLength), 'IPV6_V6ONLY');
    }
    const address = new SocketAddress().any(family, 0);
    libc.check(libc.bind(socket, address.bytes, address.length), 'bind');
    libc.check(libc.listen(socket, BACKLOG), 'listen');
    return socket;
  } catch (error) {
    libc.close(socket);
    throw error;
  }
}

/** Loads the program, and attaches it to this thread's namespace. Returns the link. */
function attach(socket: number, taken: readonly number[]): number {
  const namespace = openSync('/proc/thread-self/ns/net', 'r');
  const opened = [namespace];
  try {
    using calls = new BpfCalls();
    const map = calls.createSocketMap(socket);
    opened.push(map);
    const program = calls.load(lookupProgram(map, taken));
    opened.push(program);
    return calls.link(program, namespace);
  } finally {
    // The link keeps the program, and that the map.
    for (const fd of opened) closeSync(fd);
  }
}

class BpfCalls implements Disposable {
  readonly #address: number;
  readonly #bytes: Buffer;

  constructor() {
    const access = libc.PROT_READ | libc.PROT_WRITE;
    this.#address = libc.mmap(null, ARENA, access, libc.MAP_PRIVATE | libc.MAP_ANONYMOUS, -1, 0);
    libc.check(this.#address, 'mmap');
    this.#bytes = Buffer.from(libc.viewMemory(this.#address, ARENA));
  }

  /** @param words of the attributes: their offsets and values */
  #call(command: number, words: Record<number, number>, addresses: Record<number, number> = {}): number {
    const attributes = this.#bytes.subarray(ATTRIBUTES_AT, ATTRIBUTES_AT + ATTRIBUTES).fill(0);
    for (const [at, value] of Object.entries(words)) attributes.writeUInt32LE(value, Number(at));
    for (const [at, offset] of Object.entries(addresses)) {
      attributes.writeBigUInt64LE(BigInt(this.#address + offset), Number(at));
    }
    const at = this.#address + ATTRIBUTES_AT;
    return libc.check(libc.syscall(SYS_BPF, command, at, ATTRIBUTES, 0, 0, 0), 'bpf');
  }

  /** A map whose element 0 is a socket. */
  createSocketMap(socket: number): number {
    const map = this.#call(BPF_MAP_CREATE, { 0: BPF_MAP_TYPE_SOCKMAP, 4: 4, 8: 4, 12: 1 });
    try {
      this.#bytes.writeUInt32LE(0, KEY_AT);
      this.#bytes.writeUInt32LE(socket, VALUE_AT);
      this.#call(BPF_MAP_UPDATE_ELEM, { 0: map }, { 8: KEY_AT, 16: VALUE_AT });
      return map;
    } catch (error) {
      closeSync(map);
      throw error;
    }
  }

  load(code: Buffer): number {
    code.copy(this.#bytes, CODE_AT);
    this.#bytes.write('Apache-2.0\0', LICENSE_AT);
    const words = { 0: BPF_PROG_TYPE_SK_LOOKUP, 4: code.length / INSTRUCTION, 68: BPF_SK_LOOKUP };
    return this.#call(BPF_PROG_LOAD, words, { 8: CODE_AT, 16: LICENSE_AT });
  }

  link(program: number, namespace: number): number {
    return this.#call(BPF_LINK_CREATE, { 0: program, 4: namespace, 8: BPF_SK_LOOKUP });
  }

  [Symbol.dispose](): void {
    libc.munmap(this.#address, ARENA);
  }
}

/** Bytes: code, registers, offset, value. */
const INSTRUCTION = 8;
const LOAD_WORD = 0x61;
const STORE_WORD = 0x62;
const MOVE = 0xbf;
const MOVE_VALUE = 0xb7;
const ADD_VALUE = 0x07;
const AND_VALUE = 0x54;
const JUMP = 0x05;
const JUMP_IF = 0x15;
const JUMP_UNLESS = 0x55;
const LOAD_MAP = 0x18;
const CALL = 0x85;
const RETURN = 0x95;
const BPF_PSEUDO_MAP_FD = 1;
const MAP_LOOKUP_ELEM = 1;
const SK_RELEASE = 86;
const SK_ASSIGN = 124;
const SK_PASS = 1;
/** Of a jump: to the end, which leaves the lookup to the kernel. */
const TO_END = 'end';

// `struct bpf_sk_lookup`
const FAMILY = 8;
const PROTOCOL = 12;
const LOCAL_IPV4 = 40;
const LOCAL_IPV6 = 44;
const LOCAL_PORT = 60;

/** The registers of calls: the result, then the arguments. */
const [RESULT, ONE, TWO, THREE] = [0, 1, 2, 3];
/** Calls leave these alone. */
const [CONTEXT, SOCKET] = [6, 7];
const FRAME = 10;

type Instruction = [code: number, to: number, from?: number, offset?: number | typeof TO_END, value?: number];

/** Gives the socket of the map what goes to a loopback address and to no port of `taken`. */
function lookupProgram(map: number, taken: readonly number[]): Buffer {
  const code: Instruction[] = [
    [MOVE, CONTEXT, ONE],
    [LOAD_WORD, TWO, CONTEXT, PROTOCOL],
    [JUMP_UNLESS, TWO, 0, TO_END, libc.IPPROTO_TCP],
    [LOAD_WORD, TWO, CONTEXT, LOCAL_PORT],
    ...taken.map((port): Instruction => [JUMP_IF, TWO, 0, TO_END, port]),
    [LOAD_WORD, TWO, CONTEXT, FAMILY],
    [JUMP_UNLESS, TWO, 0, 4, libc.AF_INET],
    // 127.0.0.0/8: words of addresses are in the order of the network.
    [LOAD_WORD, TWO, CONTEXT, LOCAL_IPV4],
    [AND_VALUE, TWO, 0, 0, 0xff],
    [JUMP_UNLESS, TWO, 0, TO_END, 127],
    [JUMP, 0, 0, 8],
    // ::1
    ...[0, 0, 0, 0x0100_0000].flatMap((word, index): Instruction[] => [
      [LOAD_WORD, TWO, CONTEXT, LOCAL_IPV6 + index * 4],
      [JUMP_UNLESS, TWO, 0, TO_END, word],
    ]),
    [STORE_WORD, FRAME, 0, -4, 0],
    [MOVE, TWO, FRAME],
    [ADD_VALUE, TWO, 0, 0, -4],
    [LOAD_MAP, ONE, BPF_PSEUDO_MAP_FD, 0, map],
    [0, 0],
    [CALL, 0, 0, 0, MAP_LOOKUP_ELEM],
    [JUMP_IF, RESULT, 0, TO_END, 0],
    [MOVE, SOCKET, RESULT],
    [MOVE, ONE, CONTEXT],
    [MOVE, TWO, SOCKET],
    [MOVE_VALUE, THREE, 0, 0, 0],
    [CALL, 0, 0, 0, SK_ASSIGN],
    [MOVE, ONE, SOCKET],
    [CALL, 0, 0, 0, SK_RELEASE],
  ];
  const end = code.length;
  code.push([MOVE_VALUE, RESULT, 0, 0, SK_PASS], [RETURN, 0]);
  const bytes = Buffer.alloc(code.length * INSTRUCTION);
  for (const [index, [operation, to, from = 0, offset = 0, value = 0]] of code.entries()) {
    const at = index * INSTRUCTION;
    bytes[at] = operation;
    bytes[at + 1] = (from << 4) | to;
    bytes.writeInt16LE(offset === TO_END ? end - index - 1 : offset, at + 2);
    bytes.writeInt32LE(value, at + 4);
  }
  return bytes;
}
