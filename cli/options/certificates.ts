// Files of certificates that the user names.
import { X509Certificate } from 'node:crypto';
import { messageOf } from '../../errors/index.js';
import { readUserFile } from '../../user-files/index.js';
import { UsageError } from '../output/errors.js';

const BEGIN = '-----BEGIN CERTIFICATE-----';

/**
 * The text of a file of certificates (PEM). TLS ignores what is none in it, and then trusts nothing
 * more: so each is read here.
 * @throws UsageError
 */
export function readCertificates(file: string, flag: string): string {
  const fail = (why: string) => new UsageError(`cannot use ${file} for ${flag}: ${why}`);
  let text: string;
  try {
    text = readUserFile(file).toString('latin1');
  } catch (error) {
    throw fail(messageOf(error));
  }
  const [, ...certificates] = text.split(BEGIN);
  if (certificates.length === 0) throw fail('it has no certificate (PEM)');
  for (const [index, rest] of certificates.entries()) {
    try {
      new X509Certificate(BEGIN + rest);
    } catch {
      throw fail(`certificate ${index + 1} of it is damaged`);
    }
  }
  return text;
}
