// Certificates (X.509, RFC 5280) in DER: a CA, and what it signs for names of hosts. All keys are
// of P-256, all signatures ECDSA with SHA-256, which Node.js makes.
import { createHash, type KeyObject, randomBytes, sign } from 'node:crypto';

const BOOLEAN = 0x01;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const OCTET_STRING = 0x04;
const OID = 0x06;
const UTF8_STRING = 0x0c;
const UTC_TIME = 0x17;
const SEQUENCE = 0x30;
const SET = 0x31;
/** Tags that the context explains, of parts and of values. */
const EXPLICIT = 0xa0;
const IMPLICIT = 0x80;
/** GeneralName, dNSName. */
const DNS_NAME = IMPLICIT | 2;

const ECDSA_WITH_SHA256 = '2a8648ce3d040302';
const COMMON_NAME = '550403';
const SERVER_AUTHENTICATION = '2b06010505070301';
const SUBJECT_KEY_IDENTIFIER = '551d0e';
const KEY_USAGE = '551d0f';
const SUBJECT_ALTERNATIVE_NAME = '551d11';
const BASIC_CONSTRAINTS = '551d13';
const NAME_CONSTRAINTS = '551d1e';
const AUTHORITY_KEY_IDENTIFIER = '551d23';
const EXTENDED_KEY_USAGE = '551d25';
/** Bits of a key usage, after the number of unused ones. */
const DIGITAL_SIGNATURE = Buffer.of(7, 0x80);
const CERTIFICATE_SIGNING = Buffer.of(2, 0x04);

const DAY = 86_400_000;
/** Milliseconds before and after now. A guest's clock may be behind; a sandbox may live long. */
const BEFORE = DAY;
const AFTER = 10 * 365 * DAY;

/** A value of DER: its tag, its length, what it consists of. */
function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 0x100)) bytes.unshift(rest % 0x100);
  const size = length < 0x80 ? [length] : [0x80 | bytes.length, ...bytes];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}

const oid = (hex: string): Buffer => der(OID, Buffer.from(hex, 'hex'));
const text = (tag: number, value: string): Buffer => der(tag, Buffer.from(value));
const dnsNames = (names: readonly string[]): Buffer[] => names.map((name) => text(DNS_NAME, name));
const nameOf = (common: string): Buffer =>
  der(SEQUENCE, der(SET, der(SEQUENCE, oid(COMMON_NAME), text(UTF8_STRING, common))));

/** Until 2049, RFC 5280 wants two digits of the year. */
const time = (milliseconds: number): Buffer =>
  text(UTC_TIME, `${new Date(milliseconds).toISOString().slice(2, 19).replace(/[-:T]/g, '')}Z`);

function extension(id: string, isCritical: boolean, value: Buffer): Buffer {
  return der(SEQUENCE, oid(id), ...(isCritical ? [der(BOOLEAN, Buffer.of(0xff))] : []), der(OCTET_STRING, value));
}

const spkiOf = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' });
/** Any hash of a key is an identifier of it (RFC 7093). */
const identify = (spki: Buffer): Buffer => createHash('sha256').update(spki).digest().subarray(0, 20);

export interface CertificateSpec {
  /** Common names. */
  subject: string;
  issuer: string;
  /** The public key that is certified, and that of the issuer. */
  key: KeyObject;
  issuerKey: KeyObject;
  /** The names of hosts. */
  names: readonly string[];
  /** True: a CA, which certifies these names and what is below them. */
  isCa: boolean;
}

/** @param signer the private key of the issuer. @returns PEM */
export function makeCertificate(
  { subject, issuer, key, issuerKey, names, isCa }: CertificateSpec,
  signer: KeyObject,
): string {
  const algorithm = der(SEQUENCE, oid(ECDSA_WITH_SHA256));
  const serial = randomBytes(16);
  // Positive, and without a byte that could be left out.
  serial[0] = (serial[0]! & 0x7f) | 0x40;
  const permitted = der(EXPLICIT, ...dnsNames(names).map((name) => der(SEQUENCE, name)));
  const extensions = [
    extension(BASIC_CONSTRAINTS, true, der(SEQUENCE, ...(isCa ? [der(BOOLEAN, Buffer.of(0xff))] : []))),
    extension(KEY_USAGE, true, der(BIT_STRING, isCa ? CERTIFICATE_SIGNING : DIGITAL_SIGNATURE)),
    extension(SUBJECT_KEY_IDENTIFIER, false, der(OCTET_STRING, identify(spkiOf(key)))),
    extension(AUTHORITY_KEY_IDENTIFIER, false, der(SEQUENCE, der(IMPLICIT, identify(spkiOf(issuerKey))))),
    ...(isCa
      ? [extension(NAME_CONSTRAINTS, true, der(SEQUENCE, permitted))]
      : [
          extension(EXTENDED_KEY_USAGE, false, der(SEQUENCE, oid(SERVER_AUTHENTICATION))),
          extension(SUBJECT_ALTERNATIVE_NAME, false, der(SEQUENCE, ...dnsNames(names))),
        ]),
  ];
  const now = Date.now();
  const signed = der(
    SEQUENCE,
    // Version 3.
    der(EXPLICIT, der(INTEGER, Buffer.of(2))),
    der(INTEGER, serial),
    algorithm,
    nameOf(issuer),
    der(SEQUENCE, time(now - BEFORE), time(now + AFTER)),
    nameOf(subject),
    spkiOf(key),
    der(EXPLICIT | 3, der(SEQUENCE, ...extensions)),
  );
  const signature = der(BIT_STRING, Buffer.of(0), sign('sha256', signed, signer));
  const lines =
    der(SEQUENCE, signed, algorithm, signature)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n');
}
