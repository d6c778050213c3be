// The table of flows: an open flow keeps its place whatever else the guest does, and each flow is
// found as long as it has its place. Compared with a map.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatAddress, parseAddress } from '../../../../../addresses/ip.js';
import { Flows, type ForgottenFlow } from '../../../../../vmm/devices/net/flows.js';
import { Frame, TCP, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, UDP } from '../../../../../vmm/devices/net/frame.js';

const GUEST = parseAddress('198.19.0.2');
const SYN_ACK = TCP_SYN | TCP_ACK;

interface Segment {
  /** Names the flow. */
  flow: number;
  outgoing: boolean;
  flags: number;
  kind?: number;
  acknowledgment?: number;
}

/** A frame between the guest's port 1000 + flow and one of three remote ends. */
function frameOf({ flow, outgoing, flags, kind = TCP, acknowledgment = 0 }: Segment): Frame {
  const frame = new Frame();
  const remote = parseAddress(['203.0.113.1', '203.0.113.2', '2001:db8::1'][flow % 3]!);
  frame.kind = kind;
  frame.source.set(outgoing ? GUEST : remote);
  frame.destination.set(outgoing ? remote : GUEST);
  frame.sourcePort = outgoing ? 1000 + flow : 443;
  frame.destinationPort = outgoing ? 443 : 1000 + flow;
  frame.tcpFlags = flags;
  frame.acknowledgment = acknowledgment;
  return frame;
}

function table(capacity: number) {
  const forgotten: ForgottenFlow[] = [];
  const flows = new Flows(capacity, (flow) => forgotten.push(flow));
  let now = 1;
  return {
    forgotten,
    wait: (seconds: number) => {
      now += seconds;
    },
    /** Opens or continues a flow, as the policy does. Returns false if it is refused. */
    pass: (segment: Segment): boolean => {
      const frame = frameOf(segment);
      const opens = segment.kind === UDP || (segment.flags & SYN_ACK) === TCP_SYN;
      if (segment.kind === UDP && flows.has(frame, segment.outgoing, now)) return true;
      return opens ? flows.open(frame, segment.outgoing, now) : flows.has(frame, segment.outgoing, now);
    },
  };
}

type Table = ReturnType<typeof table>;

function connect({ pass }: Table, flow: number, byGuest = true): boolean {
  return (
    pass({ flow, outgoing: byGuest, flags: TCP_SYN }) &&
    pass({ flow, outgoing: !byGuest, flags: SYN_ACK }) &&
    pass({ flow, outgoing: byGuest, flags: TCP_ACK })
  );
}

describe('a new flow', () => {
  test('takes the place of one that was reset, by either side', () => {
    for (const outgoing of [true, false]) {
      const it = table(2);
      expect([connect(it, 1), connect(it, 2), connect(it, 3)]).toEqual([true, true, false]);
      it.pass({ flow: 1, outgoing, flags: TCP_RST });
      expect(connect(it, 3)).toBe(true);
      expect(it.pass({ flow: 1, outgoing: true, flags: TCP_ACK })).toBe(false);
      expect(it.pass({ flow: 2, outgoing: true, flags: TCP_ACK })).toBe(true);
    }
  });

  test('takes the place of one that both sides closed, not of one that one side closed', () => {
    for (const outgoing of [true, false]) {
      const it = table(1);
      connect(it, 1);
      it.pass({ flow: 1, outgoing, flags: TCP_FIN | TCP_ACK });
      expect(connect(it, 2)).toBe(false);
      it.pass({ flow: 1, outgoing: !outgoing, flags: TCP_FIN | TCP_ACK });
      // The last acknowledgment.
      expect(it.pass({ flow: 1, outgoing, flags: TCP_ACK })).toBe(true);
      expect(connect(it, 2)).toBe(true);
    }
  });

  test('takes the place of one that was not answered for a minute', () => {
    for (const outgoing of [true, false]) {
      const it = table(1);
      it.pass({ flow: 1, outgoing, flags: TCP_SYN });
      it.pass({ flow: 1, outgoing, flags: TCP_ACK });
      it.wait(60);
      expect(connect(it, 2)).toBe(false);
      it.wait(1);
      expect(connect(it, 2)).toBe(true);
      expect(it.forgotten).toEqual([]);
    }
  });

  test('takes the place of datagrams that are idle for half a minute', () => {
    const it = table(1);
    it.pass({ flow: 1, outgoing: true, flags: 0, kind: UDP });
    it.wait(30);
    expect(connect(it, 2)).toBe(false);
    it.wait(1);
    expect(connect(it, 2)).toBe(true);
  });

  test('takes the place of a connection that is idle for days, which is reported for its reset', () => {
    const it = table(1);
    connect(it, 4);
    it.pass({ flow: 4, outgoing: true, flags: TCP_ACK, acknowledgment: 2 ** 31 - 1 });
    it.pass({ flow: 4, outgoing: false, flags: TCP_ACK, acknowledgment: 77 });
    it.wait(5 * 24 * 3600);
    expect(connect(it, 2)).toBe(false);
    it.wait(1);
    expect(connect(it, 2)).toBe(true);
    const [{ remote, ...others }] = it.forgotten as [ForgottenFlow];
    expect(formatAddress(remote)).toBe('203.0.113.2');
    const expected = { own: 0, guestPort: 1004, remotePort: 443, guestExpects: 2 ** 31 - 1, remoteExpects: 77 };
    expect(others).toEqual(expected);
  });

  test('takes the place of a connection that one side closed an hour ago', () => {
    const it = table(1);
    connect(it, 1);
    it.pass({ flow: 1, outgoing: true, flags: TCP_FIN | TCP_ACK });
    it.wait(3600);
    expect(connect(it, 2)).toBe(false);
    it.wait(1);
    expect(connect(it, 2)).toBe(true);
    expect(it.forgotten).toHaveLength(1);
  });
});

test('a SYN from outside does not make an open connection look new', () => {
  const it = table(1);
  connect(it, 1);
  it.pass({ flow: 1, outgoing: false, flags: TCP_SYN });
  it.wait(3600);
  expect(connect(it, 2)).toBe(false);
});

test('a closed connection may be opened again with the same ports', () => {
  const it = table(1);
  connect(it, 1);
  it.pass({ flow: 1, outgoing: true, flags: TCP_RST });
  expect(connect(it, 1)).toBe(true);
  expect(connect(it, 2)).toBe(false);
});

test('a flow that is open keeps its place, whatever else happens', () => {
  const segment = fc.record({
    flow: fc.integer({ min: 100, max: 400 }),
    outgoing: fc.boolean(),
    flags: fc.constantFrom(TCP_SYN, SYN_ACK, TCP_ACK, TCP_FIN | TCP_ACK, TCP_RST),
    kind: fc.constantFrom(TCP, TCP, TCP, UDP),
  });
  const wait = fc.integer({ min: 0, max: 5000 });
  fc.assert(
    fc.property(
      fc.integer({ min: 8, max: 40 }),
      fc.array(fc.oneof({ arbitrary: segment, weight: 9 }, { arbitrary: wait, weight: 1 }), { maxLength: 600 }),
      (capacity, steps) => {
        const it = table(capacity);
        for (let flow = 0; flow < 5; flow++) connect(it, flow, flow % 2 === 0);
        let waited = 0;
        for (const step of steps) {
          if (typeof step !== 'number') it.pass(step);
          else if (waited + step < 5 * 24 * 3600) {
            it.wait(step);
            waited += step;
          }
        }
        for (let flow = 0; flow < 5; flow++) {
          expect(it.pass({ flow, outgoing: true, flags: TCP_ACK })).toBe(true);
          expect(it.pass({ flow, outgoing: false, flags: TCP_ACK })).toBe(true);
        }
      },
    ),
    { numRuns: 200 },
  );
});

test('a table with places for all holds the flows that a map holds', () => {
  const segment = fc.record({
    flow: fc.integer({ min: 0, max: 60 }),
    outgoing: fc.boolean(),
    flags: fc.constantFrom(TCP_SYN, TCP_ACK, TCP_FIN, TCP_RST),
  });
  fc.assert(
    fc.property(fc.array(segment, { maxLength: 300 }), (steps) => {
      const it = table(61);
      const known = new Set<number>();
      for (const step of steps) {
        if (step.flags === TCP_SYN) known.add(step.flow);
        expect(it.pass(step)).toBe(known.has(step.flow));
      }
    }),
    { numRuns: 200 },
  );
});
