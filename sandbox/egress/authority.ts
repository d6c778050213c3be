// The CA of one proxy. Its key is in the memory of this process alone, and signs for the named
// hosts.
import { generateKeyPairSync } from 'node:crypto';
import { createSecureContext, type SecureContext } from 'node:tls';
import { makeCertificate } from './certificate.js';

const NAME = 'tsvm: secrets of one machine';
const LEAF = 'tsvm: proxy of secrets';
const makeKeys = () => generateKeyPairSync('ec', { namedCurve: 'P-256' });

export class Authority {
  /** PEM. */
  readonly certificate: string;
  readonly #contexts: ReadonlyMap<string, SecureContext>;

  /** @param hosts lower case */
  constructor(hosts: Iterable<string>) {
    const names = [...new Set(hosts)];
    const ca = makeKeys();
    const leaf = makeKeys();
    const common = { issuer: NAME, issuerKey: ca.publicKey };
    const own = { ...common, subject: NAME, key: ca.publicKey, names, isCa: true };
    this.certificate = makeCertificate(own, ca.privateKey);
    const key = leaf.privateKey.export({ type: 'pkcs8', format: 'pem' });
    const sign = (name: string) =>
      makeCertificate({ ...common, subject: LEAF, key: leaf.publicKey, names: [name], isCa: false }, ca.privateKey);
    this.#contexts = new Map(names.map((name) => [name, createSecureContext({ key, cert: sign(name) })]));
  }

  /** What proves to be the host; undefined for another one. */
  contextOf(host: string): SecureContext | undefined {
    return this.#contexts.get(host);
  }
}
