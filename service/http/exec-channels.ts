// The messages of a command's WebSocket. The first is the command, as JSON in text. Those that follow
// are binary, with the number of a channel as their first byte, as in Kubernetes' v5.channel.k8s.io.
import { z } from 'zod';
import { ServiceError } from '../errors.js';
import { commandSchema } from '../sandboxes/command.js';
import { parse, parseJson } from './request.js';

export const EXEC_PROTOCOL = 'exec.v1.tsvm';

/** 5 is not one of Kubernetes'. */
export const CHANNELS = { stdin: 0, stdout: 1, stderr: 2, status: 3, resize: 4, signal: 5, close: 255 } as const;

/** Milliseconds: a day. */
const MAX_TIMEOUT = 86_400_000;
const MAX_SIDE = 65_535;

const sizeSchema = z.strictObject({ columns: z.int().min(1).max(MAX_SIDE), rows: z.int().min(1).max(MAX_SIDE) });
/** As Kubernetes has it. */
const resizeSchema = z.strictObject({ Width: z.int().min(1).max(MAX_SIDE), Height: z.int().min(1).max(MAX_SIDE) });
const signalSchema = z.strictObject({ signal: z.union([z.string().min(1).max(16), z.int().min(1).max(64)]) });

export const execSchema = z.strictObject({
  ...commandSchema.shape,
  stdin: z.boolean().default(false).describe('True if channel 0 is its input. Default: it has none'),
  terminal: sizeSchema.optional().describe('A terminal of this size takes the place of the three streams'),
  timeout: z
    .int()
    .min(1)
    .max(MAX_TIMEOUT)
    .optional()
    .describe(
      'Milliseconds from its begin after which the command is killed. Default: it may run as long as the sandbox',
    ),
});
export type ExecRequest = z.output<typeof execSchema>;

export const execStatusSchema = z.object({
  exitCode: z.int().describe('128+n if signal n ended it'),
  timedOut: z.boolean().describe('True if it was killed for its timeout'),
});

export type ExecMessage =
  | { name: 'stdin'; data: Buffer }
  | { name: 'resize'; size: { columns: number; rows: number } }
  | { name: 'signal'; signal: string | number }
  /** The end of stdin. */
  | { name: 'close' };

/** The command of the first message. @throws ServiceError `bad-request` */
export function parseExec(message: string | Buffer): ExecRequest {
  if (typeof message !== 'string') throw new ServiceError('bad-request', 'the first message is the command, as text');
  return parse(execSchema, parseJson(message), 'command');
}

/** A further message of a client. @throws ServiceError `bad-request` */
export function parseExecMessage(message: string | Buffer): ExecMessage {
  if (typeof message === 'string') throw new ServiceError('bad-request', 'messages after the first are binary');
  const data = message.subarray(1);
  switch (message[0]) {
    case CHANNELS.stdin:
      return { name: 'stdin', data };
    case CHANNELS.resize: {
      const { Width: columns, Height: rows } = parse(resizeSchema, parseJson(data.toString()), 'resize');
      return { name: 'resize', size: { columns, rows } };
    }
    case CHANNELS.signal:
      return { name: 'signal', ...parse(signalSchema, parseJson(data.toString()), 'signal') };
    case CHANNELS.close:
      if (data.length === 1 && data[0] === CHANNELS.stdin) return { name: 'close' };
      throw new ServiceError('bad-request', 'stdin is all that can be closed');
    default:
      throw new ServiceError('bad-request', `no channel ${message[0]} of a client`);
  }
}

/** A message to the client. */
export function execMessage(channel: 'stdout' | 'stderr' | 'status', data: Buffer | string): Buffer {
  return Buffer.concat([Buffer.of(CHANNELS[channel]), Buffer.from(data as Buffer)]);
}
