// A unix socket in a container whose connections come to this process, by a tool of the agent.
import { type Duplex, PassThrough, Writable } from 'node:stream';
import { within } from '../../deadline/index.js';
import { unlessAborted } from '../abort.js';
import { REQUEST_TIMEOUT, unresponsive } from '../agent/responsiveness.js';
import { defer } from '../deferred.js';
import { SandboxError } from '../errors.js';
import type { ContainerFolder } from '../home/container-folder.js';
import { Multiplexer } from './multiplexer.js';
import { runTool } from './tools.js';

/** A socket to listen on. */
export interface GuestSocket {
  /** At most 107 bytes. Nothing is there yet. */
  path: string;
  /** Permission bits. */
  mode: number;
  uid: number;
  gid: number;
}

/**
 * Listens until it is disposed of, or the container's processes are killed. Up to 16 connections
 * are open at once; further clients wait.
 * @param onConnection called with each connection, which its owner ends or destroys
 * @throws SandboxError `not-running`, `unresponsive`, `agent`, `tool`; the reason of `signal`
 */
export async function listenInGuest(
  folder: ContainerFolder,
  { path, mode, uid, gid }: GuestSocket,
  onConnection: (connection: Duplex) => void,
  signal?: AbortSignal,
): Promise<Disposable> {
  const ending = new AbortController();
  const listening = defer<void>();
  const input = new PassThrough();
  const connections = new Multiplexer({ output: input, onListening: listening.resolve, onConnection });
  const stdout = new Writable({
    write(chunk: Buffer, _encoding, done) {
      try {
        if (!ending.signal.aborted) connections.push(chunk);
      } catch (error) {
        ending.abort(error);
      }
      done();
    },
  });
  const ends = signal === undefined ? ending.signal : AbortSignal.any([ending.signal, signal]);
  const tool = runTool(folder, ['listen', path, mode.toString(8), `${uid}`, `${gid}`], {
    ...{ stdin: input, stdout, signal: ends, waits: true },
  }).finally(() => connections.end());
  // It is killed with the container.
  tool.catch(() => {});
  const started = Promise.race([
    listening.promise,
    tool.then(() => {
      throw new SandboxError('agent', "the guest's listener has ended");
    }),
  ]);
  const late = within(REQUEST_TIMEOUT);
  try {
    await unlessAborted(started, late);
  } catch (error) {
    ending.abort(error);
    if (late.aborted) throw unresponsive(`has not answered in ${REQUEST_TIMEOUT / 1000} s`);
    throw error;
  }
  return { [Symbol.dispose]: () => ending.abort() };
}
