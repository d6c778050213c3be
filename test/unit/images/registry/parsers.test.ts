// Proves that the parsers of untrusted text return a valid value or throw an ImageError, and
// nothing else. Each parser has a property test.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { messageOf } from '../../../../errors/index.js';
import { ImageError } from '../../../../images/index.js';
import { formatPlatform, parsePlatform, suitability } from '../../../../images/platform.js';
import { parseChallenges } from '../../../../images/registry/challenge.js';
import { parseHelperAnswer } from '../../../../images/registry/credential-helper.js';
import { parseDockerConfig } from '../../../../images/registry/docker-config.js';
import { parseContentLength, parseContentRange, parseRetryAfter } from '../../../../images/registry/headers.js';
import { oneLine } from '../../../../images/registry/one-line.js';
import { parseRefusal } from '../../../../images/registry/refusal.js';
import { parseSettings } from '../../../../images/registry/settings.js';
import { parseToken } from '../../../../images/registry/tokens.js';
import { type Descriptor, openManifest, parseDescriptor } from '../../../../images/source/manifest.js';
import { sha256 } from '../../../fixtures/oci-layout.js';

/** Returns the value, or null if the parser threw an ImageError of one line. */
function readOrRefuse<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    expect(error).toBeInstanceOf(ImageError);
    expect(messageOf(error)).not.toMatch(/\n/);
    return null;
  }
}

const LINUX = { os: 'linux', architecture: 'amd64', variant: '' };

describe('a WWW-Authenticate header', () => {
  test.each([
    ['Basic realm="x"', [['basic', { realm: 'x' }]]],
    [
      'Bearer realm="https://a/token",service="b",scope="repository:c:pull,push"',
      [['bearer', { realm: 'https://a/token', service: 'b', scope: 'repository:c:pull,push' }]],
    ],
    ['BEARER Realm = "a" , Service=b', [['bearer', { realm: 'a', service: 'b' }]]],
    [
      'Negotiate, Basic realm="a \\"b\\" c"',
      [
        ['negotiate', {}],
        ['basic', { realm: 'a "b" c' }],
      ],
    ],
    [
      'Negotiate abc==, Basic realm=x, charset="UTF-8"',
      [
        ['negotiate', {}],
        ['basic', { realm: 'x', charset: 'UTF-8' }],
      ],
    ],
    ['Basic realm="a", realm="b"', [['basic', { realm: 'a' }]]],
    ['Basic realm="a', [['basic', {}]]],
    ['realm="a"', []],
    ['', []],
    [',, ,', []],
  ])('is parsed: %s', (header, expected) => {
    const read = parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);
    expect(read).toEqual(expected);
  });

  const token = fc.stringMatching(/^[a-z][a-z0-9-]{0,9}$/);
  const challenge = fc.record({ scheme: token, parameters: fc.dictionary(token, fc.string({ maxLength: 20 })) });

  test('gives the challenges it was formatted from', () => {
    fc.assert(
      fc.property(fc.array(challenge, { maxLength: 4 }), (challenges) => {
        const quote = (value: string) => `"${value.replace(/["\\]/g, '\\$&')}"`;
        const text = challenges.map(({ scheme, parameters }) =>
          `${scheme} ${Object.entries(parameters)
            .map(([name, value]) => `${name}=${quote(value)}`)
            .join(', ')}`.trim(),
        );
        const read = parseChallenges(text.join(', '));
        expect(read.map(({ scheme }) => scheme)).toEqual(challenges.map(({ scheme }) => scheme));
        expect(read.map(({ parameters }) => Object.fromEntries(parameters))).toEqual(
          challenges.map(({ parameters }) => ({ ...parameters })),
        );
      }),
    );
  });

  test('may be any text, and is parsed quickly', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[Ba ="\\,]{0,200}$/)), (text) => {
        for (const { scheme } of parseChallenges(text)) expect(scheme).toMatch(/^\S+$/);
      }),
    );
    expect(parseChallenges('Basic, '.repeat(4000))).toHaveLength(4000);
    expect(parseChallenges(`Basic realm="${'\\'.repeat(16_000)}`)).toHaveLength(1);
  });
});

describe('a header with numbers', () => {
  test('gives a valid range, or null', () => {
    const number = fc.oneof(fc.nat(), fc.constant(2 ** 53), fc.constant('*'), fc.string());
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.tuple(number, number, number).map(([a, b, c]) => `bytes ${a}-${b}/${c}`),
        ),
        (text) => {
          const range = parseContentRange(text);
          if (!range) return;
          expect(Number.isSafeInteger(range.first) && range.first >= 0 && range.first <= range.last).toBe(true);
          if (range.size !== null) expect(range.last).toBeLessThan(range.size);
        },
      ),
    );
    expect(parseContentRange('bytes 5-9/10')).toEqual({ first: 5, last: 9, size: 10 });
    expect(parseContentRange('bytes 5-9/*')).toEqual({ first: 5, last: 9, size: null });
    for (const bad of ['bytes 9-5/10', 'bytes 5-9/9', 'bytes */10', 'lines 1-2/3', 'bytes -1-5/10']) {
      expect(parseContentRange(bad)).toBe(null);
    }
  });

  test('gives a length, or null', () => {
    fc.assert(
      fc.property(fc.nat(), (length) => {
        expect(parseContentLength(String(length))).toBe(length);
      }),
    );
    for (const bad of [undefined, '', '-1', '1e3', '0x10', '1, 1', '9'.repeat(16)])
      expect(parseContentLength(bad)).toBe(null);
  });

  test('gives a wait of at least 0, or null', () => {
    const now = Date.UTC(2026, 0, 1);
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.integer().map(String),
          fc.date({ noInvalidDate: true }).map((date) => date.toUTCString()),
        ),
        (text) => {
          const wait = parseRetryAfter(text, now);
          if (wait !== null) expect(wait).toBeGreaterThanOrEqual(0);
        },
      ),
    );
    expect(parseRetryAfter('120', now)).toBe(120_000);
    expect(parseRetryAfter(new Date(now + 5000).toUTCString(), now)).toBe(5000);
    expect(parseRetryAfter(new Date(now - 5000).toUTCString(), now)).toBe(0);
    expect(parseRetryAfter('soon', now)).toBe(null);
  });
});

describe('untrusted JSON', () => {
  /** The keys of the generated JSON: mostly those that the parsers look for. */
  const names = [
    ...[
      'auths',
      'auth',
      'credsStore',
      'credHelpers',
      'identitytoken',
      'username',
      'password',
      'errors',
      'message',
      'code',
    ],
    ...['token', 'access_token', 'expires_in', 'Username', 'Secret', 'mirrors', 'ca', 'insecure', 'timeout', 'x'],
    ...[
      'schemaVersion',
      'mediaType',
      'config',
      'layers',
      'manifests',
      'digest',
      'size',
      'platform',
      'annotations',
      'os',
    ],
    ...['architecture', 'variant', 'rootfs', 'diff_ids', 'type'],
  ];
  const digest = fc.constantFrom(sha256('a'), sha256('b'), 'sha256:x', 'sha512:ab');
  const types = fc.constantFrom(
    'application/vnd.oci.image.manifest.v1+json',
    'application/vnd.oci.image.index.v1+json',
    'application/vnd.oci.image.config.v1+json',
    'application/vnd.oci.image.layer.v1.tar+gzip',
    'layers',
    'linux',
    'amd64',
  );
  const { json } = fc.letrec((tie) => ({
    json: fc.oneof(
      { maxDepth: 5, withCrossShrink: true },
      fc.oneof(fc.string(), fc.integer(), fc.double(), fc.boolean(), fc.constant(null), digest, types),
      fc.array(tie('json'), { maxLength: 4 }),
      fc.dictionary(fc.constantFrom(...names), tie('json'), { maxKeys: 6 }),
    ),
  }));

  test('is a Docker configuration, or is refused', () => {
    fc.assert(
      fc.property(json, (value) => {
        const config = readOrRefuse(() => parseDockerConfig(value, 'config.json'));
        if (!config) return;
        expect(typeof config.credsStore).toBe('string');
        for (const credentials of config.auths.values()) {
          if (credentials?.kind === 'password') expect(credentials.username).not.toBe('');
        }
      }),
    );
  });

  test('gives the credentials that were encoded', () => {
    const name = fc.string({ minLength: 1, unit: 'grapheme' }).filter((text) => !/[:\0]/.test(text));
    const word = fc.string({ unit: 'grapheme' }).filter((text) => !text.includes('\0'));
    fc.assert(
      fc.property(name, word, (username, password) => {
        const auth = Buffer.from(`${username}:${password}`).toString('base64');
        const { auths } = parseDockerConfig({ auths: { host: { auth } } }, 'config.json');
        expect(auths.get('host')).toEqual({ kind: 'password', username, password });
      }),
    );
  });

  test('is a token that fits a header, or is refused', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          json.map((value) => JSON.stringify(value)),
          fc.string(),
        ),
        (text) => {
          const token = readOrRefuse(() => parseToken(Buffer.from(text), 1000));
          if (!token) return;
          expect(token.authorization).toMatch(/^Bearer [\x21-\x7e]+$/);
          expect(token.expires).toBeGreaterThan(1000);
        },
      ),
    );
    expect(parseToken(Buffer.from('{"token":"a","access_token":"b","expires_in":5}'), 0)).toEqual({
      authorization: 'Bearer a',
      expires: 5000,
    });
    expect(parseToken(Buffer.from('{"access_token":"b"}'), 0)).toEqual({ authorization: 'Bearer b', expires: 60_000 });
    expect(() => parseToken(Buffer.from('{"token":"a\\r\\nHost: x"}'), 0)).toThrow(/it has no token/);
  });

  test('is the answer of a credential helper, or is refused', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          json.map((value) => JSON.stringify(value)),
          fc.string(),
        ),
        (text) => {
          readOrRefuse(() => parseHelperAnswer(text, 'x'));
        },
      ),
    );
    expect(parseHelperAnswer('{"Username":"<token>","Secret":"s"}', 'x')).toEqual({
      kind: 'identity-token',
      token: 's',
    });
    expect(parseHelperAnswer('{"Username":"","Secret":""}', 'x')).toBe(null);
  });

  test('is the error of a registry, on one line without control characters', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          json.map((value) => JSON.stringify(value)),
          fc.string(),
        ),
        (text) => {
          const { code, said } = parseRefusal(text);
          for (const each of [code, said]) expect(each).toMatch(/^[^\p{Cc}]{0,203}$/u);
        },
      ),
    );
    expect(parseRefusal('{"errors":[{"code":"DENIED","message":"no"}]}')).toEqual({ code: 'DENIED', said: 'no' });
    expect(parseRefusal('{"errors":[{"code":"DENIED"}]}')).toEqual({ code: 'DENIED', said: 'DENIED' });
  });

  test('is the settings of registries, or is refused', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          json.map((value) => JSON.stringify(value)),
          fc.string(),
        ),
        (text) => {
          const settings = readOrRefuse(() => parseSettings(text, '/etc/x.json'))?.of('x');
          if (!settings) return;
          expect(settings.timeout).toBeGreaterThan(0);
          for (const { protocol } of settings.mirrors) expect(protocol).toMatch(/^https?:$/);
        },
      ),
    );
  });

  test('is a manifest or index, or is refused, with any blobs', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(json, { minLength: 1, maxLength: 4 }), types, async (values, mediaType) => {
        // Digests in the JSON that match no blob lead to the first one.
        const blobs = values.map((value) => Buffer.from(JSON.stringify(value)));
        const known = new Map(blobs.map((bytes) => [sha256(bytes), bytes]));
        const first = { mediaType, digest: sha256(blobs[0]!), size: blobs[0]!.length, annotations: {}, platform: null };
        const source = {
          read: async ({ digest }: Descriptor) => known.get(digest) ?? blobs[0]!,
          stream: async function* () {},
        };
        const error = await openManifest(source, first, LINUX).catch((thrown) => thrown);
        if (error instanceof Error) expect(error).toBeInstanceOf(ImageError);
      }),
    );
  });

  test('is a descriptor, or is refused', () => {
    fc.assert(
      fc.property(json, (value) => {
        const descriptor = readOrRefuse(() => parseDescriptor(value));
        if (!descriptor) return;
        expect(descriptor.digest).toMatch(/^sha256:[0-9a-f]{64}$/);
        expect(Number.isSafeInteger(descriptor.size) && descriptor.size >= 0).toBe(true);
      }),
    );
  });
});

describe('a platform', () => {
  test.each([
    ['linux/amd64', 'linux/amd64'],
    ['amd64', 'linux/amd64'],
    ['linux/x86_64', 'linux/amd64'],
    ['Linux/ARM64/v8', 'linux/arm64'],
    ['linux/arm/v7', 'linux/arm'],
    ['linux/arm/v6', 'linux/arm/v6'],
    ['windows/amd64', 'windows/amd64'],
    ['linux/__proto__', 'linux/__proto__'],
    ['linux/constructor', 'linux/constructor'],
  ])('is parsed: %s', (text, expected) => {
    expect(formatPlatform(parsePlatform(text))).toBe(expected);
  });

  test('is refused, or stays the same when formatted and parsed again', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[a-z0-9]{1,6}(\/[a-z0-9]{1,6}){0,3}$/)), (text) => {
        const platform = readOrRefuse(() => parsePlatform(text));
        if (platform) expect(parsePlatform(formatPlatform(platform))).toEqual(platform);
      }),
    );
  });

  test('suits its own variant best, lower variants less, and no other platform', () => {
    const machine = parsePlatform('linux/amd64/v3');
    const rank = (text: string) => suitability(parsePlatform(text), machine);
    expect(rank('linux/amd64/v3')).toBeGreaterThan(rank('linux/amd64/v2'));
    expect(rank('linux/amd64/v2')).toBeGreaterThan(rank('linux/amd64'));
    expect(rank('linux/amd64')).toBeGreaterThan(0);
    for (const other of ['linux/amd64/v4', 'linux/arm64', 'windows/amd64', 'linux/amd64/odd'])
      expect(rank(other)).toBe(0);
  });
});

test('untrusted text becomes one bounded line without control characters', () => {
  fc.assert(
    fc.property(fc.oneof(fc.anything(), fc.string({ unit: 'binary' })), (value) => {
      expect(oneLine(value)).toMatch(/^[^\p{Cc}]{0,203}$/u);
    }),
  );
});
