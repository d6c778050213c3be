// Pulls images in a network namespace, for leads.host.test.ts. Reads a line of JSON for each pull,
// `{ name, settings }`, and prints the error.
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ImageError } from '../../../../images/errors.js';
import { parseSettings } from '../../../../images/registry/settings.js';
import { STORE } from '../../../../images/store/layout.js';
import { pullImage } from '../../../../images/store/pull-image.js';

const [, , home = '', certificates = ''] = process.argv;
process.env.SSL_CERT_FILE = certificates;

for await (const line of createInterface({ input: process.stdin })) {
  const { name, settings } = JSON.parse(line);
  const options = { settings: parseSettings(JSON.stringify(settings), '/settings.json'), delay: 5 };
  const error = await pullImage(join(home, STORE), name, {}, options).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  console.log(JSON.stringify(error instanceof ImageError ? [error.code, error.message] : ['?', String(error)]));
}
