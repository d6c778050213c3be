// `process.Process` of E2B's daemon: commands with streams.
import { addAbortSignal } from 'node:stream';
import { z } from 'zod';
import { wordsSchema } from '../../records.js';
import type { CommandEvents, Commands, RunningCommand } from '../../sandboxes/commands.js';
import { ConnectError } from './connect.js';
import { type Method, streaming, unary } from './method.js';

const configSchema = z.object({
  cmd: z.string().min(1).max(131_072),
  args: z.array(z.string().max(131_072)).max(1023).default([]),
  envs: wordsSchema.default({}),
  cwd: z.string().max(4096).optional(),
});
const side = z.int().min(1).max(65_535);
const ptySchema = z.object({ size: z.object({ cols: side, rows: side }) });
const startSchema = z.object({
  process: configSchema,
  pty: ptySchema.optional(),
  tag: z.never({ error: 'there are no tags here' }).optional(),
  stdin: z.boolean().default(false),
});
const selectorSchema = z.object({
  pid: z
    .int()
    .min(0)
    .max(2 ** 32 - 1),
});
const ofProcessSchema = z.object({ process: selectorSchema });
const inputSchema = z.object({
  process: selectorSchema,
  input: z.union([
    z.object({ stdin: z.base64() }).transform(({ stdin }) => stdin),
    z.object({ pty: z.base64() }).transform(({ pty }) => pty),
  ]),
});
const updateSchema = z.object({ process: selectorSchema, pty: ptySchema });
const SIGNALS = { SIGNAL_SIGTERM: 15, SIGNAL_SIGKILL: 9 } as const;
const signalSchema = z.object({
  process: selectorSchema,
  signal: z.union([
    z.enum(['SIGNAL_SIGTERM', 'SIGNAL_SIGKILL']).transform((name) => SIGNALS[name]),
    z.literal([9, 15]),
  ]),
});

export function processMethods(commands: Commands): Readonly<Record<string, Method>> {
  return {
    '/process.Process/Start': streaming(startSchema, async function* ({ tenant, id, user, timeout, signal }, asked) {
      const { cmd, args, envs, cwd } = asked.process;
      const terminal = asked.pty && terminalSize(asked.pty);
      const stdin = asked.stdin || terminal !== undefined;
      const spec = { env: envs, cwd: cwd || undefined, user, stdin, terminal, timeout };
      const { command, events } = await commands.start(tenant, id, { ...spec, command: [cmd, ...args] }, signal);
      yield* told(command, events, signal);
    }),
    '/process.Process/Connect': streaming(ofProcessSchema, async function* ({ tenant, id, signal }, asked) {
      const { command, events } = await commands.follow(tenant, id, asked.process.pid);
      yield* told(command, events, signal);
    }),
    '/process.Process/List': unary(z.object({}), async ({ tenant, id }) => ({
      processes: (await commands.list(tenant, id)).map(({ pid, spec }) => {
        const [cmd, ...args] = spec.command;
        return { pid, config: { cmd, args, envs: spec.env, cwd: spec.cwd } };
      }),
    })),
    '/process.Process/SendInput': unary(inputSchema, async ({ tenant, id }, { process, input }) => {
      await (await commands.find(tenant, id, process.pid)).write(Buffer.from(input, 'base64'));
      return {};
    }),
    '/process.Process/Update': unary(updateSchema, async ({ tenant, id }, { process, pty }) => {
      (await commands.find(tenant, id, process.pid)).resize(terminalSize(pty));
      return {};
    }),
    '/process.Process/CloseStdin': unary(ofProcessSchema, async ({ tenant, id }, { process }) => {
      (await commands.find(tenant, id, process.pid)).closeInput();
      return {};
    }),
    '/process.Process/SendSignal': unary(signalSchema, async ({ tenant, id }, { process, signal }) => {
      (await commands.find(tenant, id, process.pid)).signal(signal);
      return {};
    }),
  };
}

function terminalSize({ size: { cols: columns, rows } }: z.output<typeof ptySchema>) {
  return { columns, rows };
}

/** The events of a command as the client reads them. */
async function* told(
  { pid, spec }: RunningCommand,
  events: CommandEvents,
  signal: AbortSignal,
): AsyncGenerator<object> {
  addAbortSignal(signal, events);
  yield { event: { start: { pid } } };
  for await (const event of events) {
    if (event.name !== 'end') {
      const name = spec.terminal === undefined ? event.name : 'pty';
      yield { event: { data: { [name]: event.data.toString('base64') } } };
      continue;
    }
    const { exitCode, timedOut } = event;
    if (timedOut) throw new ConnectError('deadline_exceeded', 'the command was killed: its time is over');
    const end = { exitCode, exited: exitCode < 128, status: `exit status ${exitCode}` };
    yield { event: { end: exitCode === 0 ? end : { ...end, error: end.status } } };
  }
}
