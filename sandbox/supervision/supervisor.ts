// The program that supervises a container in the background (supervisor-process.ts). The machine
// process starts first, since it takes longest.
import '../../libc/no-debugger.js';

import { Socket } from 'node:net';
import { defer } from '../deferred.js';
import { SandboxError } from '../errors.js';
import { MachineClient } from '../machine/machine-client.js';
import { type ControlReply, readMessages, sendLine, toReply } from './control-protocol.js';
import type { SupervisorOrder } from './supervisor-process.js';

const ORDERS_FD = 3;

const machine = new MachineClient();
const starter = new Socket({ fd: ORDERS_FD, readable: true, writable: true });
const say = (reply: ControlReply) => sendLine(starter, reply);
const go = defer<void>();
let known = false;

/**
 * The starter is gone: a container that was not told to go is not started, and without a container
 * the process exits.
 */
function abandon(): void {
  go.reject(new SandboxError('aborted', 'the process that started the container is gone'));
  if (known) return;
  machine[Symbol.dispose]();
  process.exit(1);
}

// A starter that is killed with unread replies causes an error instead of an end.
starter.on('error', () => {});
starter.on('end', abandon);
starter.on('close', abandon);
readMessages<SupervisorOrder>(starter, (order) => {
  if (order.type === 'go') go.resolve();
  else {
    known = true;
    supervise(order).then(
      () => process.exit(0),
      (error) => {
        say(toReply(error));
        starter.end(() => process.exit(1));
      },
    );
  }
  return undefined;
});

async function supervise(order: Extract<SupervisorOrder, { type: 'supervise' }>): Promise<void> {
  const { Home } = await import('../home/home.js');
  const { loadHolders } = await import('../../images/index.js');
  const { stopTimeoutOf } = await import('../home/container-record.js');
  const { Supervision } = await import('./supervision.js');
  const { id } = order;
  const home = new Home(order.home, order.runtime);
  const folder = home.containers.folder(id);
  const config = folder.config();
  if (config === undefined) {
    machine[Symbol.dispose]();
    throw new SandboxError('no-such-container', `no such container: ${id}`);
  }
  const supervision = new Supervision(
    { home, folder, config },
    {
      machine,
      ownCgroup: true,
      resumes: order.resumes,
      snapshot: order.snapshot,
      layer: order.layer,
      rollsBack: order.rollsBack,
      input: order.input,
      secrets: order.secrets,
      onListening: () => {
        say({ type: 'done' });
        return go.promise;
      },
      onFallback: ({ accel, reason }) => say({ type: 'warning', of: 'fallback', accel, reason }),
      onEmulatedCpus: (cpus) => say({ type: 'warning', of: 'cpus', cpus }),
      onNoNetwork: (reason) => say({ type: 'warning', of: 'network', reason }),
    },
  );
  supervision.started.then(() => {
    say({ type: 'started', pid: process.pid });
    starter.end();
    // Its end releases the image. Nothing of the start waits for that.
    if (config.spec.autoRemove) loadHolders().catch(() => {});
  });
  process.on('SIGTERM', () => supervision.stop(config.stopSignal, stopTimeoutOf(config)));
  await supervision.exit;
}
