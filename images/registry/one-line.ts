// Makes untrusted text fit for a message of one line.

const MAX_CHARACTERS = 200;

/**
 * Replaces control characters and whitespace by single spaces and truncates. Returns '' for
 * anything but a string.
 */
export function oneLine(text: unknown): string {
  if (typeof text !== 'string') return '';
  const shown = text
    .slice(0, 4 * MAX_CHARACTERS)
    .replace(/[\p{C}\s]+/gu, ' ')
    .trim();
  return shown.length > MAX_CHARACTERS ? `${shown.slice(0, MAX_CHARACTERS)}...` : shown;
}
