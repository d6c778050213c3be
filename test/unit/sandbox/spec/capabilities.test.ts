// Capabilities are added and dropped by Docker's rules.
import { describe, expect, test } from 'vitest';
import { CAPABILITIES } from '../../../../sandbox/agent/frames.js';
import { DEFAULT_CAPABILITIES, resolveCapabilities } from '../../../../sandbox/spec/capabilities.js';

const sorted = (names: readonly string[]) => [...names].sort();

describe('capabilities', () => {
  test("are Docker's default set", () => {
    expect(sorted(resolveCapabilities())).toEqual(sorted(DEFAULT_CAPABILITIES));
  });

  test('are added and dropped by name, in any case, with or without CAP_', () => {
    const names = resolveCapabilities(['net_admin', 'CAP_SYS_TIME'], ['cap_chown', 'KILL']);
    const expected = DEFAULT_CAPABILITIES.filter((name) => name !== 'CHOWN' && name !== 'KILL');
    expect(sorted(names)).toEqual(sorted([...expected, 'NET_ADMIN', 'SYS_TIME']));
  });

  test('are only the added ones if ALL is dropped', () => {
    expect(resolveCapabilities(['NET_RAW'], ['ALL'])).toEqual(['NET_RAW']);
    expect(resolveCapabilities([], ['all'])).toEqual([]);
  });

  test('are all but the dropped ones if ALL is added', () => {
    expect(resolveCapabilities(['ALL'])).toEqual([...CAPABILITIES]);
    expect(resolveCapabilities(['ALL'], ['SYS_ADMIN'])).toEqual(CAPABILITIES.filter((name) => name !== 'SYS_ADMIN'));
  });

  test('with an unknown name are refused', () => {
    expect(() => resolveCapabilities(['FLY'])).toThrow("invalid CapAdd: unknown capability: 'FLY'");
    expect(() => resolveCapabilities([], ['CAP_'])).toThrow("invalid CapDrop: unknown capability: 'CAP_'");
  });
});
