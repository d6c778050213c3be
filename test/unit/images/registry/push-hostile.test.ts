// Proves that a push resumes within a chunk at a registry that keeps what it has taken, that it
// gives credentials to no other host, and that hostile answers end it.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { Connections } from '../../../../images/registry/connections.js';
import { Endpoint } from '../../../../images/registry/endpoint.js';
import { parseSettings } from '../../../../images/registry/settings.js';
import { joinScopes } from '../../../../images/registry/tokens.js';
import { uploadBlob } from '../../../../images/registry/upload.js';
import { Random } from '../../../fixtures/random.js';
import { failure } from '../failure.js';

const CHUNK = 8 << 20;
const servers: Server[] = [];

afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

async function listen(handle: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer(handle).listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Uploads bytes, with a name and a password. */
async function upload(host: string, bytes: Buffer, settings: object = {}) {
  using connections = new Connections(parseSettings(JSON.stringify(settings), '/settings.json'));
  const endpoint = new Endpoint(host, new URL(`http://${host}`), connections, async () => ({
    kind: 'password',
    username: 'me',
    password: 'secret',
  }));
  const stream = async function* () {
    for (let at = 0; at < bytes.length; at += 100_000) yield bytes.subarray(at, at + 100_000);
  };
  const { signal } = new AbortController();
  const blob = { repository: 'app', scope: 'repository:app:pull,push', what: 'a layer', digest: null, stream, signal };
  return await uploadBlob(endpoint, blob, 1);
}

/** A registry that keeps each byte it gets, and breaks the connection at the byte `cuts` names. */
async function keeping(cuts: number[]) {
  const held: Buffer[] = [];
  /** Bytes that it has, all of which it was sent once. */
  let received = 0;
  const starts: number[] = [];
  const host = await listen(async (request, response) => {
    const location = '/v2/app/blobs/uploads/1?_state=a%3Db';
    const range = `0-${Math.max(0, received - 1)}`;
    if (request.method === 'POST') return response.writeHead(202, { location }).end();
    if (request.method === 'GET') return response.writeHead(204, { location, range }).end();
    if (request.method === 'PUT') {
      const digest = `sha256:${createHash('sha256').update(Buffer.concat(held)).digest('hex')}`;
      expect(request.url).toBe(`${location}&digest=${encodeURIComponent(digest)}`);
      return response.writeHead(201, { 'docker-content-digest': digest }).end();
    }
    const [first = -1, last = -1] = String(request.headers['content-range']).split('-').map(Number);
    expect(first).toBe(received);
    starts.push(first);
    try {
      for await (const bytes of request as AsyncIterable<Buffer>) {
        received += bytes.length;
        held.push(bytes);
        if (cuts[0] !== undefined && received > cuts[0]) {
          cuts.shift();
          request.socket.destroy();
          return;
        }
      }
    } catch {
      return;
    }
    expect(received).toBe(last + 1);
    response.writeHead(202, { location, range: `0-${last}` }).end();
  });
  return { host, starts, held: () => Buffer.concat(held), received: () => received };
}

test('an upload resumes at the byte that the registry has, and sends none again', async () => {
  const bytes = Buffer.alloc(2 * CHUNK + 500_000, new Random(2).bytes(65_537));
  const registry = await keeping([3_000_000, 5_000_000, CHUNK + 1_000_000]);
  const { size, digest } = await upload(registry.host, bytes);
  expect(size).toBe(bytes.length);
  expect(registry.held().equals(bytes)).toBe(true);
  expect(digest).toBe(`sha256:${createHash('sha256').update(bytes).digest('hex')}`);
  expect(registry.received()).toBe(bytes.length);
  expect(registry.starts).toHaveLength(6);
});

test('another host that an upload is led to gets no credentials, also after it leads back', async () => {
  const seen: [string, string | undefined][] = [];
  let home = '';
  const other = await listen((request, response) => {
    seen.push([`other ${request.method}`, request.headers.authorization]);
    request.resume().on('end', () => response.writeHead(202, { location: `http://${home}/back` }).end());
  });
  home = await listen((request, response) => {
    seen.push([`home ${request.method}`, request.headers.authorization]);
    request.resume().on('end', () => {
      if (request.url?.startsWith('/back')) return response.writeHead(201).end();
      if (request.headers.authorization === undefined) {
        return response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
      }
      response.writeHead(202, { location: `http://${other}/upload` }).end();
    });
  });
  await upload(home, Buffer.from('bytes'));
  const basic = expect.stringMatching(/^Basic /);
  expect(seen).toEqual([
    ['home POST', undefined],
    ['home POST', basic],
    ['other PATCH', undefined],
    ['home PUT', undefined],
  ]);
});

test('hostile Range, Location, length and status headers end in an error', async () => {
  const random = new Random(Number(process.env.TSVM_FUZZ_SEED ?? 1));
  const ranges = ['0-0', '0-4', '0-5', '1-4', '5-0', '0--1', 'x', '0-999999999999999', '0-4,6-7', 'bytes=0-4', ''];
  const locations = [
    '',
    '/u',
    'http://[',
    'ftp://x/',
    'http://10.0.0.1/u',
    '//127.0.0.1:1/u',
    'u?a=b#c',
    '/u?digest=x',
  ];
  const statuses = [200, 201, 202, 204, 301, 303, 307, 308, 400, 401, 404, 416, 418];
  const pick = <T>(list: readonly T[]): T => list[random.below(list.length)]!;
  const host = await listen((request, response) => {
    request.resume().on('end', () => {
      const wanted = { POST: 202, PATCH: 202, PUT: 201, GET: 204 }[request.method ?? ''] ?? 200;
      const headers = {
        range: pick(ranges),
        location: pick(locations),
        'oci-chunk-min-length': pick(['', '-1', '9e9', '99999999999', '1']),
      };
      response.writeHead(random.below(3) > 0 ? wanted : pick(statuses), headers).end();
    });
  });
  let failed = 0;
  for (let run = 0; run < Number(process.env.TSVM_FUZZ_RUNS ?? 60); run++) {
    await upload(host, Buffer.from('bytes')).catch((error) => {
      failed++;
      expect(error).toMatchObject({
        name: 'ImageError',
        code: expect.stringMatching(/^(network|unauthorized|too-large)$/),
      });
    });
  }
  expect(failed).toBeGreaterThan(0);
}, 120_000);

test('a registry that loses each upload is given up', async () => {
  let posts = 0;
  const host = await listen((request, response) => {
    if (request.method === 'POST') posts++;
    request.resume().on('end', () => {
      if (request.method === 'POST') return response.writeHead(202, { location: '/u' }).end();
      response.writeHead(404).end();
    });
  });
  await expect(upload(host, Buffer.from('bytes'))).rejects.toEqual(failure('network', /was lost/));
  expect(posts).toBe(6);
});

test('an upload of chunks that are too long is refused, and cancelled', async () => {
  const seen: string[] = [];
  const host = await listen((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    const headers = {
      location: '/v2/app/blobs/uploads/1?_state=a%3Db',
      'oci-chunk-min-length': String((64 << 20) + 1),
    };
    request.resume().on('end', () => response.writeHead(request.method === 'POST' ? 202 : 204, headers).end());
  });
  await expect(upload(host, Buffer.from('bytes'))).rejects.toEqual(
    failure('too-large', `${host} asks for chunks of 67108865 bytes; the limit is 67108864`),
  );
  expect(seen).toEqual(['POST /v2/app/blobs/uploads/', 'DELETE /v2/app/blobs/uploads/1?_state=a%3Db']);
});

test('a registry that stops reading is given up', async () => {
  let stalled = 0;
  const host = await listen((request, response) => {
    if (request.method === 'PATCH') {
      request.pause();
      stalled++;
      return;
    }
    request.resume().on('end', () => {
      if (request.method !== 'POST') return response.writeHead(404).end();
      response.writeHead(202, { location: '/u', 'oci-chunk-min-length': String(32 << 20) }).end();
    });
  });
  await expect(upload(host, Buffer.alloc(32 << 20), { [host]: { timeout: 1 } })).rejects.toEqual(
    failure('network', /^the upload of a layer to \S+ was lost: the registry no longer has it$/),
  );
  expect(stalled).toBe(6);
});

test.each([
  [['repository:a/b:pull', 'repository:a/b:pull,push'], ['repository:a/b:pull,push']],
  [['', 'repository:a:pull'], ['repository:a:pull']],
  [
    ['repository:a:pull,push', 'repository:b:pull repository:a:push'],
    ['repository:a:pull,push', 'repository:b:pull'],
  ],
  [
    ['odd', 'repository:h:5000/a:pull'],
    ['repository:h:5000/a:pull', 'odd'],
  ],
])('the scopes %j are joined', (lists, expected) => {
  expect(joinScopes(...lists)).toEqual(expected);
});
