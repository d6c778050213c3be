// Proves that both ends of the protocol agree with the recorded frames. Each .bin file is the
// encoded frame of the .json file beside it.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type AgentFrame,
  ERROR_KINDS,
  encodeFrame,
  type Frame,
  FrameDecoder,
  type HostFrame,
  HostFrameDecoder,
  STREAMS,
} from '../../../sandbox/agent/protocol.js';
import { buildCodec, encodeByAgent, understand } from './codec-program.js';
import { withDefaults } from './understood.js';

const fixtures = new URL('../../fixtures/agent-frames/', import.meta.url).pathname;
const recorded = readdirSync(fixtures)
  .filter((name) => name.endsWith('.json'))
  .map((name) => ({
    name: name.slice(0, -'.json'.length),
    frame: JSON.parse(readFileSync(join(fixtures, name), 'utf8')) as Frame,
    bytes: readFileSync(join(fixtures, name.replace(/json$/, 'bin'))),
  }));
const fromHost = [
  'machine',
  'container',
  'process',
  'signal',
  'resize',
  'remove',
  'shutdown',
  'ping',
  'freeze',
  'thaw',
];
const hostFrames = recorded.filter(({ frame }) => fromHost.includes(frame.type));
const agentFrames = recorded.filter(({ frame }) => !fromHost.includes(frame.type));

let directory: string;
let codec: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'agent-codec-'));
  codec = buildCodec(directory);
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** The arguments with which the codec program writes this frame. */
function agentArguments(frame: AgentFrame): (string | number)[] {
  switch (frame.type) {
    case 'hello':
      return frame.frozen
        ? ['hello-again', frame.kernel, frame.running ?? 0, frame.processes ?? 0]
        : ['hello', frame.kernel, frame.running ?? 0];
    case 'running':
      return ['running', frame.process, frame.container, frame.pid];
    case 'started':
      return ['started', frame.request, frame.process, frame.pid];
    case 'exited': // the status as wait(2) has it
      return [
        'exited',
        frame.process,
        frame.container,
        frame.signal ?? (frame.code ?? 0) << 8,
        frame.oomKilled ? 1 : 0,
      ];
    case 'error':
      return ['error', frame.request, ERROR_KINDS.indexOf(frame.kind) + 1, frame.errno ?? 0, frame.message];
    case 'stream':
      return ['stream', frame.process, STREAMS.indexOf(frame.stream)];
    case 'done':
    case 'pong':
      return [frame.type, frame.request];
  }
}

describe('the recorded frames', () => {
  test('have one of every type', () => {
    const types = ['hello', 'started', 'exited', 'error', 'stream', 'pong', 'done', 'running', ...fromHost];
    expect(new Set(recorded.map(({ frame }) => frame.type))).toEqual(new Set(types));
  });

  test.each(recorded)('$name: the host encodes it to the recorded bytes', ({ frame, bytes }) => {
    expect(encodeFrame(frame).toString('hex')).toBe(bytes.toString('hex'));
  });

  test.each(recorded)('$name: the host decodes the recorded bytes', ({ frame, bytes }) => {
    const decoder = fromHost.includes(frame.type) ? new HostFrameDecoder() : new FrameDecoder();
    expect(decoder.push(bytes)).toEqual([frame]);
  });

  test.each(hostFrames)('$name: the agent understands the recorded bytes', ({ frame, bytes }) => {
    const expected = withDefaults(frame as HostFrame);
    expect(understand(codec, [{ bytes, chunk: bytes.length }])).toEqual([[expected]]);
    expect(understand(codec, [{ bytes, chunk: 1 }])).toEqual([[expected]]);
  });

  test.each(agentFrames)('$name: the agent writes the recorded bytes', ({ frame, bytes }) => {
    expect(encodeByAgent(codec, agentArguments(frame as AgentFrame)).toString('hex')).toBe(bytes.toString('hex'));
  });

  test('are understood one after the other on one connection, in pieces of any size', () => {
    const bytes = Buffer.concat(hostFrames.map((fixture) => fixture.bytes));
    const expected = hostFrames.map(({ frame }) => withDefaults(frame as HostFrame));
    const cases = [1, 2, 3, 7, 8, 9, 64, 1000, bytes.length].map((chunk) => ({ bytes, chunk }));
    for (const understood of understand(codec, cases)) expect(understood).toEqual(expected);
  });
});
