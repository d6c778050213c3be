// Shows the steps of a build, in BuildKit's plain form: each line begins with the number of its
// step. The output of a command is shown as it comes, line by line.
import type { Finding, OnEvent, StepEvent } from '../../build/index.js';
import { printableLine } from '../../printable/index.js';
import type { Screen } from './layer-bars.js';

/** Characters of a line of output that are kept until its end comes. */
const MAX_LINE = 16 * 1024;

interface BuildLines {
  onEvent: OnEvent;
}

/** @param form `plain`: lines for people; `rawjson`: the events, one JSON object a line */
export function openBuildProgress(form: 'plain' | 'rawjson' | 'none', screen: Screen = process.stderr): BuildLines {
  if (form === 'none') return { onEvent() {} };
  if (form === 'rawjson') return { onEvent: (event) => void screen.write(`${toJson(event)}\n`) };
  const began = new Map<number, number>();
  const partial = new Map<string, string>();
  const say = (step: number, text: string) => screen.write(`#${step} ${text}\n`);
  const flush = (step: number) => {
    for (const stream of ['stdout', 'stderr']) {
      const rest = partial.get(`${step} ${stream}`);
      partial.delete(`${step} ${stream}`);
      if (rest) outputLine(step, rest);
    }
  };
  const outputLine = (step: number, line: string) => {
    const seconds = (performance.now() - (began.get(step) ?? 0)) / 1000;
    say(step, `${seconds.toFixed(3)} ${printableLine(line)}`);
  };
  return {
    onEvent(event) {
      if (event.is === 'warning') {
        screen.write(`WARNING: ${printableLine(event.message)}\n`);
        return;
      }
      if (event.is === 'checked') {
        screen.write(findingsSummary(event.findings));
        return;
      }
      const { step } = event;
      if (event.is === 'begun') {
        began.set(step, performance.now());
        say(step, printableLine(event.name));
      } else if (event.is === 'output') {
        const key = `${step} ${event.stream}`;
        const lines = ((partial.get(key) ?? '') + event.bytes.toString()).split(/\r?\n/);
        const last = lines.pop() ?? '';
        for (const line of lines) outputLine(step, line);
        if (last.length > MAX_LINE) outputLine(step, last);
        partial.set(key, last.length > MAX_LINE ? '' : last);
      } else {
        flush(step);
        if (event.is === 'cached') say(step, 'CACHED');
        else if (event.is === 'done') say(step, `DONE ${event.seconds.toFixed(1)}s`);
        else say(step, `ERROR: ${printableLine(event.message)}`);
      }
    },
  };
}

/** As Docker ends a build whose Dockerfile has faults. */
function findingsSummary(findings: readonly Finding[]): string {
  const count = `${findings.length} warning${findings.length === 1 ? '' : 's'} found`;
  const lines = findings.map(
    ({ rule, detail, place }) => ` - ${rule}: ${printableLine(detail)} (line ${place.line})\n`,
  );
  return `\n ${count} (use tsvm build --check to expand):\n${lines.join('')}`;
}

function toJson(event: StepEvent): string {
  return JSON.stringify(event.is === 'output' ? { ...event, bytes: event.bytes.toString('base64') } : event);
}
