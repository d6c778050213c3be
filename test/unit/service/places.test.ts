// The places of a tenant: so many at one time, however often one is given back.
import { expect, test } from 'vitest';
import type { Tenant } from '../../../service/records.js';
import { MAX_PLACES, Places } from '../../../service/sandboxes/places.js';
import { HOST } from '../../fixtures/service.js';

const tenantOf = (name: string): Tenant => ({
  name,
  ...HOST,
  sandboxes: 1,
  snapshots: 1,
  jobs: 1,
  files: 1,
  rate: 'none',
});
const ACME = tenantOf('acme');

/** Takes all that are free. Returns how many there were. */
function fill(places: Places): number {
  for (let taken = 0; ; taken++) {
    try {
      places.take(ACME);
    } catch (error) {
      expect(error).toMatchObject({ code: 'quota' });
      return taken;
    }
  }
}

test('a place that is given back twice is one place', () => {
  const places = new Places();
  const held = places.take(ACME);
  for (let turn = 0; turn < 100; turn++) {
    const place = places.take(ACME);
    place[Symbol.dispose]();
    place[Symbol.dispose]();
  }
  expect(fill(places)).toBe(MAX_PLACES - 1);
  held[Symbol.dispose]();
  held[Symbol.dispose]();
  expect(fill(places)).toBe(1);
});

test("another tenant's are others", () => {
  const places = new Places();
  expect(fill(places)).toBe(MAX_PLACES);
  places.take(tenantOf('other'))[Symbol.dispose]();
  expect(fill(places)).toBe(0);
});
