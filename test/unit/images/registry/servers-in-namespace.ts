// The servers of leads.host.test.ts: a registry that leads elsewhere, and services that only the
// host or its network should reach. Prints a line for each request to a service.
import { readFileSync } from 'node:fs';
import { createServer as createPlainServer, type RequestListener } from 'node:http';
import { createServer } from 'node:https';

const [, , role, folder, address] = process.argv;
const tls = { cert: readFileSync(`${folder}/server.crt`), key: readFileSync(`${folder}/server.key`) };

/** The first path component names the host and the way: `/v2/realm/https/127.0.0.1_9/manifests/1`. */
const lead: RequestListener = (request, response) => {
  const [, , how, scheme, host = ''] = request.url!.split('/');
  const target = `${scheme}://${host.replace('_', ':')}/inside?x=1`;
  if (how === 'realm') {
    response.writeHead(401, { 'www-authenticate': `Bearer realm="${target}",service="x"` }).end();
  } else {
    const location = how === 'chain' ? `https://${address}:18998/forward/${target}` : target;
    response.writeHead(307, { location }).end();
  }
};

const serve: RequestListener = (request, response) => {
  console.log(`${request.method} ${request.url}`);
  const forward = /^\/forward\/(.*)$/.exec(request.url!)?.[1];
  if (forward !== undefined) response.writeHead(307, { location: forward }).end();
  else response.writeHead(403).end(JSON.stringify({ errors: [{ message: 'SECRET' }] }));
};

if (role === 'registry') {
  createServer(tls, lead).listen(8443, address, () => console.log('up'));
} else {
  createPlainServer(serve).listen(18999, address, () => {
    createServer(tls, serve).listen(18998, address, () => console.log('up'));
  });
}
