// A large graph as groups within groups: by module, by line of source, by repeated structure, or not at all.
//
//     chainruleGroups.tree(graph, "module" | "line" | "structure" | "none")  ->  tree
//     chainruleGroups.choices(graph)  ->  [{by, name, problem}], where a problem says why one cannot be chosen
//
// tree.groups[0] is the whole graph. A group has `name`, `words` (what it computes), `slug` (its address), `parent`,
// `children` (groups) and `nodes` (those in no child); tree.order holds the nodes such that each group's are in one stretch,
// from `from` to `to`. No group shows more than FEW things: what is alike is counted, and what is left comes in parts.
"use strict";

globalThis.chainruleGroups = (() => {
  const { isLeaf, isConstant, row, inputsOf } = chainruleGraph;
  const { structure, counted, grouped, name } = chainruleWords;
  const FEW = 40; // things in one group; more are hard to tell apart in a picture
  const LARGE = 300; // nodes; a larger graph is shown in groups at first
  const TOO_LARGE = 1000; // nodes; a larger graph is not shown without groups
  const ALIKE = 4; // single nodes that make a group

  function choices(graph) {
    const recorded = "needs the graph to be built within: with chainrule.show.record():";
    const many = `this graph has ${grouped(graph.count)} nodes; they are shown all at once up to ${grouped(TOO_LARGE)}`;
    return [
      { by: "none", name: "Nothing: every node", problem: graph.count > TOO_LARGE ? many : "" },
      {
        by: "module",
        name: "Module",
        problem: hasModules(graph) ? "" : graph.line ? "no module was called in this graph" : recorded,
      },
      { by: "line", name: "Source line", problem: graph.line ? "" : recorded },
      { by: "structure", name: "Repeated structure", problem: "" },
    ];
  }

  const hasModules = (graph) => graph.facts.modules.some((path) => path.length > 0);

  // How a graph is grouped as long as the reader has not chosen.
  function usual(graph) {
    if (graph.count <= LARGE) return "none";
    return hasModules(graph) ? "module" : "structure";
  }

  function tree(graph, by) {
    const whole = group("", "");
    whole.nodes = Array.from({ length: graph.count }, (_, n) => n);
    if (by === "module") split(graph, whole, modulePaths(graph));
    if (by === "line") split(graph, whole, linePaths(graph));
    if (by !== "none") simplify(graph, whole);
    return flattened(graph, whole, by);
  }

  const group = (name, slug, words = "") => ({ name, slug, words, children: [], nodes: [] });

  // ---- by what was recorded -----------------------------------------------------------------------------------------

  // Each node into the group that its path names, step by step; nodes without a path stay.
  function split(graph, whole, paths) {
    const staying = [];
    const places = new Map(); // by path: nodes of one call share theirs
    for (const n of whole.nodes) {
      if (!places.has(paths[n])) places.set(paths[n], placeOf(whole, paths[n]));
      const at = places.get(paths[n]);
      (at === whole ? staying : at.nodes).push(n);
    }
    whole.nodes = staying;
  }

  // The group at the end of a path.
  function placeOf(whole, path) {
    let at = whole;
    for (const { name, slug, words } of path) {
      at.named ??= new Map();
      if (!at.named.has(name)) {
        at.named.set(name, group(name, slug, words));
        at.children.push(at.named.get(name));
      }
      at = at.named.get(name);
    }
    return at;
  }

  function modulePaths(graph) {
    const { facts, module, call } = graph;
    const calls = new Map(); // of each outermost module, those that are there
    for (let n = 0; n < graph.count; n++) {
      const path = module[n] < 0 ? [] : facts.modules[module[n]];
      if (path.length) calls.set(path[0], (calls.get(path[0]) ?? new Set()).add(call[n]));
    }
    const steps = facts.modules.map((path) => path.map((name) => ({ name, slug: slugOf(name), words: "" })));
    const most = 1 + call.reduce((largest, each) => Math.max(largest, each), 0);
    const key = (n) => (module[n] < 0 || !steps[module[n]].length ? -1 : module[n] * most + call[n]);
    const known = new Map([[-1, []]]);
    const path = (n) => {
      const k = key(n);
      if (!known.has(k)) {
        const inner = steps[module[n]];
        const several = calls.get(inner[0].name).size > 1;
        known.set(k, several ? [...inner, { name: `call ${call[n]}`, slug: `call${call[n]}`, words: "" }] : inner);
      }
      return known.get(k);
    };
    return withLeaves(
      graph,
      Array.from({ length: graph.count }, (_, n) => path(n)),
    );
  }

  function linePaths(graph) {
    const { facts, line } = graph;
    const oneFile = new Set(facts.lines.map(([file]) => file)).size === 1;
    const paths = facts.lines.map(([file, at, source]) => [
      { name: `${file}:${at}`, slug: oneFile ? `line${at}` : slugOf(`${file}-${at}`), words: source },
    ]);
    return withLeaves(
      graph,
      Array.from(line, (at) => (at < 0 ? [] : paths[at])),
    );
  }

  // No operation made a leaf, so it has no path of its own: it goes where all of its uses are, if they are in one place.
  function withLeaves(graph, paths) {
    for (let n = 0; n < graph.count; n++) {
      if (!isLeaf(graph, n)) continue;
      let common = null;
      for (let k = graph.useFirst[n]; k < graph.useFirst[n + 1]; k++) {
        const path = paths[graph.consumer[graph.useEdge[k]]];
        if (path.length) common = common === null ? path : shared(common, path);
      }
      const calls = common?.length && /^call\d+$/.test(common[common.length - 1].slug);
      paths[n] = common !== null && (isLastModule(graph, common, n, paths) || calls) ? common : [];
    }
    return paths;
  }

  function shared(a, b) {
    if (a === b) return a;
    let k = 0;
    while (k < a.length && k < b.length && a[k].name === b[k].name) k++;
    return k === a.length ? a : a.slice(0, k);
  }

  // Whether the uses of a leaf end in this path itself, a call apart; the inputs of a layer end in several neurons of it.
  function isLastModule(graph, common, n, paths) {
    for (let k = graph.useFirst[n]; k < graph.useFirst[n + 1]; k++) {
      const path = paths[graph.consumer[graph.useEdge[k]]];
      const inner = path.length && /^call\d+$/.test(path[path.length - 1].slug) ? path.length - 1 : path.length;
      if (path.length && inner > common.length) return false;
    }
    return true;
  }

  const slugOf = (text) =>
    text
      .toLowerCase()
      .replace(/[^\p{L}\p{N}.-]+/gu, "")
      .slice(0, 24) || "group";

  // ---- by repeated structure ----------------------------------------------------------------------------------------

  // Every group that shows too much gets groups of what is alike in it, then parts.
  function simplify(graph, whole) {
    const stack = [whole];
    const work = {
      in: new Int32Array(graph.count),
      left: new Uint8Array(graph.count),
      kind: new Int32Array(graph.count),
      size: new Int32Array(graph.count),
      parent: new Int32Array(graph.count),
      number: 0,
    };
    while (stack.length) {
      const each = stack.pop();
      if (!each.alike && each.nodes.length + each.children.length > FEW) alike(graph, each, work);
      for (const child of each.children) stack.push(child);
      if (each.nodes.length + each.children.length > FEW) inParts(graph, each);
    }
  }

  // Nodes of a group that repeat one structure become groups: "100 × [tanh(sum of 16 products)]", with one group for each.
  function alike(graph, whole, work) {
    const number = ++work.number;
    for (const n of whole.nodes) {
      work.in[n] = number;
      work.left[n] = 1; // until it has a group
    }
    const trees = treesOf(graph, whole.nodes, work);
    const taken = new Map(); // kind -> the roots that are of it
    for (const n of whole.nodes) {
      if (!trees.repeats(n) || (trees.parent(n) >= 0 && trees.repeats(trees.parent(n)))) continue;
      const kind = trees.kind(n);
      if (taken.has(kind)) taken.get(kind).push(n);
      else taken.set(kind, [n]);
    }
    const made = new Map([...taken].map(([kind, roots]) => [kind, instances(graph, roots, trees, work.left)]));
    whole.children.push(
      ...made.values(),
      ...chains(graph, whole.nodes, trees, work.left),
      ...leaves(graph, whole.nodes, trees, work.left, made),
    );
    whole.nodes = whole.nodes.filter((n) => work.left[n]);
    numbered(whole.children);
  }

  // The nodes of a group as trees: a node that is used once, within the group, belongs to what it is used for. Trees of the
  // same operations on any values are of one kind.
  function treesOf(graph, nodes, work) {
    const { number } = work;
    const { useFirst, useEdge, consumer, op } = graph;
    for (const n of nodes) {
      const only = useFirst[n + 1] - useFirst[n] === 1 ? consumer[useEdge[useFirst[n]]] : -1;
      work.parent[n] = only >= 0 && work.in[only] === number ? only : -1;
    }
    const parent = (n) => (work.in[n] === number ? work.parent[n] : -1);
    const belongs = (x) => work.in[x] === number && work.parent[x] >= 0;
    const inner = (x) => belongs(x) && op[x] >= 0;
    const kinds = new Map();
    const counts = [];
    for (const n of nodes) {
      if (op[n] < 0) continue; // inputs come before what is made of them
      const inputs = inputsOf(graph, n);
      let key = String(op[n]);
      let size = 1;
      for (const x of inputs) {
        key += inner(x) ? `,${work.kind[x]}` : isConstant(graph, x) ? ",c" : ",v";
        size += inner(x) ? work.size[x] : belongs(x) ? 1 : 0;
      }
      if (inputs.length === 2 && inputs[0] === inputs[1]) key += "=";
      let kind = kinds.get(key);
      if (kind === undefined) kinds.set(key, (kind = counts.push(0) - 1));
      [work.kind[n], work.size[n]] = [kind, size];
      counts[kind]++;
    }
    const repeats = (n) => op[n] >= 0 && counts[work.kind[n]] >= (work.size[n] >= 3 ? 2 : ALIKE);
    return {
      parent,
      inner,
      repeats,
      kind: (n) => (op[n] < 0 ? -1 : work.kind[n]),
      members: (n) => membersOf(graph, n, belongs),
    };
  }

  // A node and what belongs to it, as a reader meets them.
  function membersOf(graph, top, belongs) {
    const found = [];
    const stack = [top];
    while (stack.length) {
      const n = stack.pop();
      found.push(n);
      for (const x of inputsOf(graph, n)) if (belongs(x)) stack.push(x);
    }
    return found.sort((a, b) => a - b);
  }

  function instances(graph, roots, trees, left) {
    const words = structure(graph, roots[0], (x) => trees.inner(x));
    const all = group(`${grouped(roots.length)} × [${words}]`, "alike", words);
    all.alike = true;
    roots.forEach((n, k) => {
      const members = trees.members(n);
      for (const m of members) left[m] = 0;
      if (members.length === 1) {
        all.nodes.push(n);
      } else {
        const label = graph.facts.names[n] !== undefined && n !== graph.root ? ` ${name(graph, n)}` : "";
        const one = group(`no. ${grouped(k + 1)}${label}`, String(k + 1), words);
        one.nodes = members;
        one.start = members[0];
        all.children.push(one);
      }
    });
    return all;
  }

  const CHAINS = { add: ["sum", "terms"], mul: ["product", "factors"] };

  // Long sums and products of what is left, whose steps are all different.
  function chains(graph, nodes, trees, left) {
    const found = [];
    const joins = (n, operation) => left[n] && !isLeaf(graph, n) && row(graph, n).name === operation;
    for (const n of nodes.toReversed()) {
      const operation = !left[n] || isLeaf(graph, n) ? "" : row(graph, n).name;
      if (!Object.hasOwn(CHAINS, operation)) continue;
      const members = membersOf(graph, n, (x) => (joins(x, operation) || isConstant(graph, x)) && trees.parent(x) >= 0);
      const steps = members.filter((x) => !isLeaf(graph, x)).length;
      if (steps < ALIKE) continue;
      for (const m of members) left[m] = 0;
      const [called, terms] = CHAINS[operation];
      const sum = group(`${called} of ${grouped(steps + 1)} ${terms}`, called);
      sum.nodes = members;
      sum.alike = true;
      found.push(sum);
    }
    return found;
  }

  // Leaves that go into the same kinds of structure.
  function leaves(graph, nodes, trees, left, made) {
    const alike = new Map();
    const usedBy = new Map();
    for (const n of nodes) {
      if (!left[n] || !isLeaf(graph, n)) continue;
      const used = new Set();
      for (let k = graph.useFirst[n]; k < graph.useFirst[n + 1]; k++)
        used.add(topKind(trees, graph.consumer[graph.useEdge[k]], made));
      const key = `${isConstant(graph, n) ? "c" : "v"}${[...used].sort()}`;
      usedBy.set(key, used);
      if (alike.has(key)) alike.get(key).push(n);
      else alike.set(key, [n]);
    }
    const found = [];
    for (const [key, values] of alike) {
      if (values.length < (isConstant(graph, values[0]) ? 3 * ALIKE : ALIKE)) continue;
      const all = group(counted(values.length, isConstant(graph, values[0]) ? "constant" : "value"), "values");
      all.words = [...usedBy.get(key)]
        .map((kind) => (made.has(kind) ? `go into ${made.get(kind).name}` : ""))
        .sort()
        .reverse()[0];
      all.nodes = values;
      all.alike = all.values = true;
      for (const n of values) left[n] = 0;
      found.push(all);
    }
    return found;
  }

  // The kind of the repeated structure that a node is in, or -1.
  function topKind(trees, n, made) {
    let top = -1;
    for (let at = n; at >= 0; at = trees.parent(at)) if (made.has(trees.kind(at))) top = trees.kind(at);
    return top;
  }

  // ---- parts --------------------------------------------------------------------------------------------------------

  // What is too much for one group, in stretches as a reader meets them, and stretches of those.
  function inParts(graph, whole) {
    const stays = (n) => !whole.alike && isLeaf(graph, n);
    const staying = { children: whole.children.filter((child) => child.values), nodes: whole.nodes.filter(stays) };
    let things = [
      ...whole.children.filter((child) => !child.values).map((child) => ({ child, start: startOf(child) })),
      ...whole.nodes.filter((n) => !stays(n)).map((node) => ({ node, start: node })),
    ].sort((a, b) => a.start - b.start);
    const count = things.length;
    let first = things.map((_, k) => k + 1);
    while (things.length > FEW) {
      const each = Math.max(2, Math.ceil(things.length / Math.ceil(things.length / FEW)));
      const [parts, starts] = [[], []];
      for (let k = 0; k < things.length; k += each) {
        const inside = things.slice(k, k + each);
        const end = (first[k + each] ?? count + 1) - 1;
        const part = group(partName(inside, first[k], end), `${first[k]}to${end}`, whole.alike ? whole.words : "");
        part.isPart = true;
        part.children = inside.filter((thing) => thing.child).map((thing) => thing.child);
        part.nodes = inside.filter((thing) => !thing.child).map((thing) => thing.node);
        part.words ||= operationsIn(graph, part);
        parts.push({ child: part, start: inside[0].start });
        starts.push(first[k]);
      }
      [things, first] = [parts, starts];
    }
    whole.children = [...staying.children, ...things.filter((thing) => thing.child).map((thing) => thing.child)];
    whole.nodes = [...staying.nodes, ...things.filter((thing) => !thing.child).map((thing) => thing.node)];
  }

  // "call 1 to 34" of things that are numbered themselves; else their places.
  function partName(inside, first, last) {
    const numbers = [inside[0], inside[inside.length - 1]].map(({ child }) => /^(call|no\.) ([\d,]+)/.exec(child?.name ?? ""));
    if (numbers[0] && numbers[1]) return `${numbers[0][1]} ${numbers[0][2]} to ${numbers[1][2]}`;
    const parts = [inside[0], inside[inside.length - 1]].map(({ child }) =>
      /^(call|no\.) ([\d,]+) to ([\d,]+)$/.exec(child?.name ?? ""),
    );
    if (parts[0] && parts[1]) return `${parts[0][1]} ${parts[0][2]} to ${parts[1][3]}`;
    return `${grouped(first)} to ${grouped(last)}`;
  }

  // The first node of a group; what is in a group stays in it, so it is found once.
  function startOf(top) {
    const stack = [top];
    while (stack.length) {
      const each = stack.pop();
      const unknown = each.start === undefined ? each.children.filter((child) => child.start === undefined) : [];
      if (unknown.length) {
        stack.push(each, ...unknown);
        continue;
      }
      each.start ??= Math.min(
        ...each.children.map((child) => child.start),
        each.nodes.reduce((least, n) => Math.min(least, n), Infinity),
      );
    }
    return top.start;
  }

  // The three most frequent operations of a part.
  function operationsIn(graph, part) {
    const counts = new Map();
    for (const n of part.nodes) {
      const word = isLeaf(graph, n) ? "values" : row(graph, n).symbol;
      counts.set(word, (counts.get(word) ?? 0) + 1);
    }
    const most = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 3);
    return most.map(([word, count]) => `${grouped(count)} × ${word}`).join(", ");
  }

  // ---- the tree as a list -------------------------------------------------------------------------------------------

  // Groups of one parent have slugs of their own.
  function numbered(children) {
    const counts = new Map();
    for (const child of children) counts.set(child.slug, (counts.get(child.slug) ?? 0) + 1);
    const seen = new Map();
    for (const child of children) {
      const { slug } = child;
      if (counts.get(slug) < 2) continue;
      seen.set(slug, (seen.get(slug) ?? 0) + 1);
      child.slug = `${slug}${seen.get(slug)}`;
    }
  }

  function flattened(graph, whole, by) {
    const groups = [];
    const order = new Int32Array(graph.count);
    const of = new Int32Array(graph.count); // the innermost group of each node
    let at = 0;
    const stack = [{ each: whole, parent: -1, path: "" }];
    while (stack.length) {
      const { each, parent, path, leaving } = stack.pop();
      if (leaving !== undefined) {
        groups[leaving].to = at;
        continue;
      }
      const id = groups.length;
      const full = path && each.slug ? `${path}.${each.slug}` : each.slug;
      groups.push({
        id,
        name: each.name,
        words: each.words,
        slug: full,
        parent,
        children: [],
        nodes: each.nodes,
        from: at,
        to: at,
      });
      if (parent >= 0) groups[parent].children.push(id);
      for (const n of each.nodes) {
        order[at++] = n;
        of[n] = id;
      }
      stack.push({ leaving: id });
      const children = each.children.map((child) => ({ child, start: startOf(child) })).sort((a, b) => a.start - b.start);
      // What is in a part is called as if it were in the whole.
      for (const { child } of children.reverse()) stack.push({ each: child, parent: id, path: each.isPart ? path : full });
    }
    return { by, groups, order, of };
  }

  // The groups around a group, the outermost first, with the group itself, without the whole graph.
  function path(tree, id) {
    const found = [];
    for (let at = id; at > 0; at = tree.groups[at].parent) found.unshift(at);
    return found;
  }

  // The shortest end of its address that no other group has.
  function shortSlug(tree, id) {
    const parts = tree.groups[id].slug.split(".");
    for (let k = 1; k < parts.length; k++) {
      const end = parts.slice(-k).join(".");
      if (tree.groups.filter((each) => isCalled(each, end)).length === 1) return end;
    }
    return tree.groups[id].slug;
  }

  const isCalled = (each, slug) => each.slug === slug || each.slug.endsWith(`.${slug}`);

  // The group of an address, or -1.
  function find(tree, slug) {
    const exact = tree.groups.findIndex((each) => each.slug === slug);
    return exact > 0 ? exact : tree.groups.findIndex((each) => each.id > 0 && isCalled(each, slug));
  }

  return { tree, choices, usual, path, shortSlug, find };
})();
