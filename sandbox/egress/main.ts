// The program that is the proxy of placeholders of one container (egress-process.ts). It ends with
// its owner. What a guest makes it take is bounded by its owner's cgroup. Where there is none, the
// kernel ends it first.
import '../../libc/no-debugger.js';

import { writeFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { messageOf } from '../../errors/index.js';
import { JsonLines } from '../../vmm/json-lines.js';
import type { EgressOrder, EgressReply } from './messages.js';
import { EgressProxy } from './proxy.js';

const ORDERS_FD = 3;
/** Bytes. All placeholders are in one line. */
const MAX_LINE = 8 * 1024 * 1024;

try {
  writeFileSync('/proc/self/oom_score_adj', '1000');
} catch {
  // The host's kernel has no such file.
}
const owner = new Socket({ fd: ORDERS_FD, readable: true, writable: true });
const lines = new JsonLines(MAX_LINE);
let proxy: EgressProxy | undefined;
const say = (reply: EgressReply) => owner.write(`${JSON.stringify(reply)}\n`);
owner.on('error', () => process.exit(1));
const end = () => {
  proxy?.[Symbol.dispose]();
  process.exit(0);
};
owner.on('close', end);
owner.on('end', end);
owner.on('data', (chunk: Buffer) => {
  for (const order of lines.read(chunk)) obey(order as EgressOrder);
});

function obey(order: EgressOrder): void {
  if (order.type === 'connection') proxy?.announce(order);
  else serve(order).catch((error) => say({ type: 'failed', reason: messageOf(error) }));
}

async function serve(order: Extract<EgressOrder, { type: 'serve' }>): Promise<void> {
  proxy = new EgressProxy(order);
  const { certificates } = proxy;
  say({ type: 'listening', port: await proxy.listen(), certificates });
}
