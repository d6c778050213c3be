// What ADD tells of a URL: no password of it.
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { Workshop } from './made.js';

afterEach(() => vi.unstubAllEnvs());

test('a wrong checksum', async () => {
  using shop = new Workshop();
  const server = createServer((_, answer) => answer.end('contents'));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  shop.write({});
  const settings = join(shop.folder, 'registries.json');
  writeFileSync(settings, JSON.stringify({ [host]: { internal: true } }));
  vi.stubEnv('TSVM_REGISTRIES', settings);
  const dockerfile = `FROM scratch\nADD --checksum=sha256:${'0'.repeat(64)} http://me:secret@${host}/f /`;
  const built = shop.build(dockerfile).finally(() => server.close());
  await expect(built).rejects.toThrow(`http://${host}/f: the checksum is sha256:`);
});
