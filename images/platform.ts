// Platforms of images and machines: Docker's `OS/ARCH[/VARIANT]` (containerd, platforms). Synonyms
// that builders use become one name.

import { ImageError } from './errors.js';

export interface Platform {
  os: string;
  architecture: string;
  /** `v8`, or '' for the architecture's usual variant. */
  variant: string;
}

/** The platform of tsvm's guests. */
export const MACHINE: Platform = { os: 'linux', architecture: 'amd64', variant: '' };

const WORD = /^[a-z0-9_.-]{1,64}$/;
const SAME = new Map(Object.entries({ x86_64: 'amd64', 'x86-64': 'amd64', aarch64: 'arm64', i386: '386' }));
const USUAL_VARIANT = new Map(Object.entries({ amd64: 'v1', arm64: 'v8', arm: 'v7' }));

/**
 * Parses `OS/ARCH[/VARIANT]`, or `ARCH` alone.
 *
 * @throws ImageError `bad-reference`
 */
export function parsePlatform(text: string): Platform {
  const words = text.toLowerCase().split('/');
  if (words.length === 1) words.unshift('linux');
  const [os, architecture, variant = ''] = words;
  const isWhole = words.length <= 3 && words.every((word) => WORD.test(word));
  if (!isWhole || os === undefined || architecture === undefined) {
    throw new ImageError(
      'bad-reference',
      `invalid platform '${text}': expected OS/ARCH[/VARIANT], such as linux/amd64`,
    );
  }
  return normalize({ os, architecture, variant });
}

/** Returns true for an operating system, an architecture or a variant that a platform may have. */
export function isPlatformWord(text: string): boolean {
  return WORD.test(text);
}

/** The canonical spelling of a platform. */
export function normalize({ os, architecture, variant }: Platform): Platform {
  const name = SAME.get(architecture) ?? architecture;
  return { os, architecture: name, variant: variant === USUAL_VARIANT.get(name) ? '' : variant };
}

/**
 * As Docker writes a platform into images: with the usual variant of 32-bit ARM, and of no other.
 */
export function writtenPlatform(platform: Platform): Platform {
  const isUsualArm = platform.architecture === 'arm' && platform.variant === '';
  return isUsualArm ? { ...platform, variant: 'v7' } : platform;
}

export function formatPlatform({ os, architecture, variant }: Platform): string {
  return `${os}/${architecture}${variant === '' ? '' : `/${variant}`}`;
}

/** Returns true if both have the same operating system and architecture. */
export function isSameMachine(a: Platform, b: Platform): boolean {
  return a.os === b.os && a.architecture === b.architecture;
}

/**
 * Rates how well an offered platform suits a machine: 0 means that it cannot run, higher is better.
 * A machine runs images for its own variant and for lower ones.
 */
export function suitability(offered: Platform, machine: Platform): number {
  if (!isSameMachine(offered, machine)) return 0;
  const has = variantNumber(offered);
  const wants = variantNumber(machine);
  if (offered.variant === machine.variant) return 1000;
  return has !== null && wants !== null && has < wants ? 1 + has : 0;
}

function variantNumber({ architecture, variant }: Platform): number | null {
  const digits = /^v(\d{1,2})$/.exec(variant === '' ? (USUAL_VARIANT.get(architecture) ?? '') : variant);
  return digits && Number(digits[1]);
}

/** The platform fields of an image config. */
interface ImagePlatform {
  os: string;
  architecture: string;
}

/** Returns true if an image is for a machine. Empty fields match every machine. */
export function isFor(image: ImagePlatform | undefined, machine: Platform): boolean {
  return image === undefined || isSameMachine(platformOf(image, machine), machine);
}

/**
 * Checks that an image is for a machine.
 *
 * @throws ImageError `unsupported`
 */
export function checkPlatform(image: ImagePlatform, machine: Platform): void {
  if (isFor(image, machine)) return;
  const wanted = isSameMachine(machine, MACHINE) ? 'this machine runs' : 'the requested platform is';
  const own = formatPlatform(platformOf(image, machine));
  throw new ImageError('unsupported', `the image is for ${own}; ${wanted} ${formatPlatform(machine)}`);
}

function platformOf({ os, architecture }: ImagePlatform, machine: Platform): Platform {
  return normalize({ os: os || machine.os, architecture: architecture || machine.architecture, variant: '' });
}
