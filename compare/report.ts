// The report of a comparison: its schema, which is published, and the types made from it.
import * as z from 'zod';

const Units = z.enum(['ms', 'us', 'ns', 'MiB', 'KiB']);
const Verdict = z.enum(['host', 'own', 'closed']);

const Difference = z.strictObject({
  sign: z.union([z.literal(-1), z.literal(0), z.literal(1)]).describe('1: more; -1: less; 0: neither is shown'),
  ratio: z.tuple([z.number(), z.number()]).optional().describe('has the ratio; absent if a sample is 0'),
});

const MeasureReport = z.strictObject({
  name: z.string(),
  title: z.string(),
  unit: Units,
  samples: z.array(z.number()).describe('in the order of the rounds; outliers are kept'),
  rounds: z
    .array(z.number())
    .optional()
    .describe('the round of each sample; samples of one round count as one in intervals. Absent: each has its own'),
  warmUp: z.array(z.number()).describe('what the rounds before the first one gave; no figure has them'),
  median: z.number(),
  p5: z.number().describe('5th percentile'),
  p95: z.number().describe('95th percentile'),
  interval: z
    .tuple([z.number(), z.number()])
    .describe('has the median with 95 percent; with fewer than 6 rounds, the range of their medians'),
  difference: Difference.optional().describe(
    'from the first level that has the measure, with 99 percent, by the pairs of each round; absent: that level, or too few rounds',
  ),
});

const ProbeReport = z.strictObject({
  name: z.string(),
  title: z.string(),
  verdict: Verdict.describe(
    "host: it sees or reaches the host's; own: there is one, and it is the sandbox's own; closed: refused",
  ),
  found: z.string().describe('what was seen, or the error'),
});

const SurfaceReport = z.strictObject({
  allowed: z
    .array(z.string())
    .optional()
    .describe('system calls of the host that the filters let through with some arguments, by their code'),
  tried: z.number().optional().describe('the same with all arguments 0, by trying: the kernel judged each'),
  made: z
    .array(z.strictObject({ name: z.string(), calls: z.number() }))
    .optional()
    .describe('system calls of the host that the processes made while the gauge worked (strace)'),
  reached: z
    .array(z.string())
    .optional()
    .describe("functions of the host's kernel that the processes reached while the gauge worked (ftrace)"),
  processes: z
    .array(
      z.strictObject({
        name: z.string(),
        faces: z.boolean().describe('code in the sandbox could take it over first; `allowed` is that of these'),
        uid: z.number().describe('effective user'),
        capabilities: z.number().describe('effective ones'),
        capabilitiesIn: z.enum(['host', 'own']).describe('the user namespace in which they count'),
        namespaces: z.array(z.string()).describe('types that it does not share with tsvm compare'),
        files: z.array(z.string()).describe('files, devices and folders of the host that it has open'),
      }),
    )
    .describe('of the host, for one idle sandbox'),
});

const LevelReport = z.strictObject({
  name: z.string(),
  summary: z.string(),
  state: z.enum(['measured', 'missing', 'failed']),
  reason: z.string().optional().describe('why it is missing, or has failed'),
  advice: z.string().optional().describe('how to get it'),
  version: z.string().optional(),
  limitsMemory: z.boolean().optional(),
  note: z.string().optional().describe('what a reader of its figures must know'),
  measures: z.array(MeasureReport).describe('a measure that is absent was not measured'),
  notMeasured: z.array(z.strictObject({ name: z.string(), reason: z.string() })),
  probes: z.array(ProbeReport).describe('empty without `--probes`; a probe that is absent gave no answer'),
  surface: SurfaceReport.optional().describe('absent if it was not looked at'),
  outputs: z.array(z.string()).describe("the end of the command's output, one of each round"),
});

const Changes = z.strictObject({
  since: z.string().describe('when the older report was started'),
  differences: z.array(z.string()).describe('what differs beside the levels: the CPU, the image, ...'),
  compared: z.number().describe('figures that both reports have, with rounds enough to judge them'),
  unjudged: z.array(z.string()).default([]).describe('figures that both have, with too few rounds'),
  measures: z
    .array(
      z.strictObject({
        level: z.string(),
        name: z.string(),
        unit: Units,
        from: z.number().describe('the older median'),
        to: z.number(),
        ratio: z
          .tuple([z.number(), z.number()])
          .optional()
          .describe('has the ratio with 99 percent; absent if a sample is 0'),
        verdict: z.enum(['better', 'worse']),
      }),
    )
    .describe('figures whose ratio is not 1'),
  probes: z.array(z.strictObject({ level: z.string(), name: z.string(), from: Verdict, to: Verdict })),
  absent: z.array(z.string()).describe('figures that only the older report has'),
});

const Host = z.strictObject({
  cpu: z.string(),
  cpus: z.number(),
  memory: z.number().describe('bytes'),
  kernel: z.string(),
  node: z.string(),
  tsvm: z.string(),
});

export const ReportSchema = z
  .strictObject({
    format: z.literal('tsvm-compare-2'),
    started: z.string().describe('RFC 3339'),
    ended: z.string().describe('RFC 3339'),
    complete: z
      .boolean()
      .describe('false if a signal ended the comparison; what its limit left out is in notMeasured and warnings'),
    host: Host,
    image: z.strictObject({ name: z.string(), digest: z.string() }),
    rounds: z.number(),
    memory: z.number().describe('bytes that each sandbox may use'),
    pinned: z.array(z.number()).describe("CPUs that the levels' programs ran on; empty for any"),
    command: z.array(z.string()),
    busy: z.array(z.number()).describe("share of the host's CPUs that other programs used before each round"),
    warnings: z.array(z.string()),
    levels: z.array(LevelReport),
    changes: Changes.optional().describe('since the report of `--against`'),
  })
  .describe('A report of `tsvm compare`');

export type Report = z.infer<typeof ReportSchema>;
export type Changes = z.infer<typeof Changes>;
export type LevelReport = z.infer<typeof LevelReport>;
export type SurfaceReport = z.infer<typeof SurfaceReport>;
export type ProbeReport = z.infer<typeof ProbeReport>;
export type MeasureReport = z.infer<typeof MeasureReport>;
