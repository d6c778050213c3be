// How near a server is to this host. What a server leads to, by a redirect or by the token server
// that it names, may be no nearer than the server itself: a registry on the Internet must not make
// this host ask what only this host, or its network, can reach.
//
// The address that a connection is made to is what counts, not the name: a name may have any
// address, and another one the next time.

import { type LookupAddress, lookup } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import { networkInterfaces } from 'node:os';
import { isPublic } from '../../addresses/closed-ranges.js';
import { type Address, type AddressRange, isInAnyRange, parseAddress, parseRange } from '../../addresses/ip.js';
import { messageOf } from '../../errors/index.js';
import { ImageError } from '../errors.js';
import type { Settings } from './settings.js';

/** From far to near. */
export const REACHES = ['public', 'private', 'link', 'host'] as const;

/**
 * - `public`: on the public Internet.
 * - `private`: in a private network.
 * - `link`: link-local, or the metadata service of a cloud.
 * - `host`: this host.
 */
export type Reach = (typeof REACHES)[number];

/** Linux connects to this host for 0.0.0.0 and :: too. */
const HOST = ['0.0.0.0/8', '127.0.0.0/8', '::/127'].map(parseRange);
const LINK = ['169.254.0.0/16', 'fe80::/10', '100.100.100.200', '168.63.129.16', 'fd00:ec2::254'].map(parseRange);
const NAT64 = [parseRange('64:ff9b::/96')];

/** The reach of an address. @throws RangeError for another text */
export function reachOf(address: string): Reach {
  const text = address.replace(/%.*$/, '');
  const words = behindNat64(parseAddress(text));
  if (isInAnyRange(HOST, words) || isOwn(text)) return 'host';
  if (isInAnyRange(LINK, words)) return 'link';
  return isPublic(words) ? 'public' : 'private';
}

/** On a network that has IPv6 only, the address of a server that has IPv4 only. */
function behindNat64(words: Address): Address {
  return isInAnyRange(NAT64, words) ? Uint32Array.of(0, 0, 0xffff, words[3]!) : words;
}

function isOwn(address: string): boolean {
  const own: AddressRange[] = Object.values(networkInterfaces()).flatMap((each = []) =>
    each.map((entry) => parseRange(entry.address)),
  );
  return isInAnyRange(own, parseAddress(address));
}

export function isWithinReach(reach: Reach, limit: Reach): boolean {
  return REACHES.indexOf(reach) <= REACHES.indexOf(limit);
}

export function farther(one: Reach, other: Reach): Reach {
  return isWithinReach(one, other) ? one : other;
}

/**
 * Resolves names to the addresses that are within a reach.
 */
export function lookupWithin(limit: Reach): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, all) => {
      if (error !== null) {
        callback(error, []);
        return;
      }
      const [first, ...others] = all.filter(({ address }) => isWithinReach(reachOf(address), limit));
      if (first === undefined) callback(new TooNearError(hostname), []);
      else if (options.all === true) callback(null, [first, ...others] satisfies LookupAddress[]);
      else callback(null, first.address, first.family);
    });
  };
}

/**
 * Checks a host that is an address, for which there is no lookup.
 * @throws ImageError `network` if it is nearer than the limit
 */
export function checkHost(hostname: string, limit: Reach): void {
  const address = hostname.replace(/^\[(.*)\]$/, '$1');
  if (isIP(address) !== 0 && !isWithinReach(reachOf(address), limit)) throw new TooNearError(hostname);
}

/**
 * An address of a server that a stranger names: on the public Internet, unless the user's settings
 * open the server.
 * @param host `HOST[:PORT]`, as the settings name it
 * @throws ImageError `network`
 */
export async function strangersAddress(hostname: string, host: string, settings: Settings): Promise<string> {
  const limit = settings.of(host).internal ? 'host' : 'public';
  try {
    checkHost(hostname, limit);
    return await new Promise((resolve, reject) => {
      lookupWithin(limit)(hostname, {}, (error, address) => (error ? reject(error) : resolve(String(address))));
    });
  } catch (error) {
    if (error instanceof TooNearError) throw notPublic(error);
    throw new ImageError('network', messageOf(error), { cause: error });
  }
}

/** What a user is told of a server that a stranger names. */
export function notPublic(error: TooNearError): ImageError {
  const message = `${error.host} is not on the public Internet: see docs/registries.md, "internal"`;
  return new ImageError('network', message, { cause: error });
}

/** A server is nearer to this host than what leads to it. */
export class TooNearError extends ImageError {
  constructor(readonly host: string) {
    super(
      'network',
      `a registry leads to ${host}, which is nearer to this host than the registry: see docs/registries.md, "internal"`,
    );
  }
}
