// What the page says: numbers, names, the chain rule in numbers, the expression of a graph, and a subgraph in a few words.
//
// Numbers, names and steps read as wording.py and steps.py have them; a test holds the two against each other.
"use strict";

globalThis.chainruleWords = (() => {
  const { isLeaf, isConstant, row, inputsOf, gradientUses } = chainruleGraph;

  // ---- numbers ------------------------------------------------------------------------------------------------------

  // As Python rounds: a number that is exactly between two goes to the even one, where JavaScript goes up.
  function fixed(x, digits) {
    const shown = Math.abs(x).toFixed(digits);
    const exact = Math.abs(x) < 1e15 ? Math.abs(x).toFixed(100) : "";
    const tie = /^50*$/.test(exact.slice(exact.indexOf(".") + 1 + digits));
    const even = tie && Number(shown[shown.length - 1]) % 2 ? (Number(shown) - 10 ** -digits).toFixed(digits) : shown;
    return (x < 0 || Object.is(x, -0) ? "-" : "") + even;
  }

  function scientific(x, digits) {
    return x.toExponential(digits).replace(/e([+-])(\d)$/, "e$10$2");
  }

  function infinite(x) {
    return Number.isNaN(x) ? "nan" : x > 0 ? "inf" : "-inf";
  }

  // wording.number: four decimals, or an exponent where they would not do.
  function number(x) {
    if (!Number.isFinite(x)) return infinite(x);
    const size = Math.abs(x);
    return size === 0 || (5e-5 <= size && size < 1e9) ? fixed(x, 4) : scientific(x, 3);
  }

  // wording.short: for formulas, without zeros at the end.
  function short(x) {
    if (!Number.isFinite(x)) return infinite(x);
    const size = Math.abs(x);
    if (size === 0) return "0";
    if (0.1 <= size && size < 1e9) return withoutZeros(fixed(x, 4));
    const exponent = Number(x.toExponential(3).split("e")[1]);
    if (exponent < -4 || exponent >= 4)
      return withoutZeros(x.toExponential(3).split("e")[0]) + "e" + scientific(x, 3).split("e")[1];
    return withoutZeros(fixed(x, 3 - exponent));
  }

  function withoutZeros(text) {
    return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
  }

  const counted = (n, one, many = one + "s") => `${grouped(n)} ${n === 1 ? one : many}`;
  const grouped = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, ",");

  // ---- names and values ---------------------------------------------------------------------------------------------

  function name(graph, n) {
    const given = graph.facts.names[n];
    if (given !== undefined) return given;
    return isConstant(graph, n) && graph.kind === "value" ? short(graph.data[n]) : `v${n + 1}`;
  }

  const isNamed = (graph, n) => graph.facts.names[n] !== undefined;
  const value = (graph, n) => (graph.kind === "value" ? short(graph.data[n]) : graph.facts.arrays[n].shown);
  const slopeName = (graph, n) => `d${name(graph, graph.root)}/d${name(graph, n)}`;
  const bracketed = (text) => (text.startsWith("-") ? `(${text})` : text);

  // Equal things joined by equals signs, each once.
  const chain = (parts) => [...new Set(parts.filter((part) => part))].join(" = ");

  // A template of the table with names or numbers in its places; a sign before a place asks for parentheses about a minus.
  function filled(template, at) {
    return template
      .replace(/(?<!\w)\(-⟦(\w)⟧\)/g, (_, place) => (/^-|^[\d.]+e[+-]\d+$/.test(at(place)) ? `(${at(place)})` : at(place)))
      .replace(/-⟦(\w)⟧/g, (_, place) => at(place));
  }

  function filledAt(graph, n, template, told) {
    const inputs = inputsOf(graph, n);
    return filled(template, (place) => told(place === "y" ? n : inputs[Number(place)]));
  }

  // How a node got its number: "e = a × b = 2 × -3 = -6".
  function origin(graph, n) {
    if (isLeaf(graph, n)) return chain([name(graph, n), value(graph, n)]);
    if (graph.kind === "tensor") return tensorOrigin(graph, n);
    const template = row(graph, n).value;
    const [named, counted] = [name, value].map((told) => filledAt(graph, n, template, (x) => told(graph, x)));
    return chain([name(graph, n), named, counted, value(graph, n)]);
  }

  function tensorOrigin(graph, n) {
    const step = graph.facts.steps?.find((each) => each.node === n && each.value);
    if (step) return step.value;
    const called = [...inputsOf(graph, n)].map((x) => name(graph, x));
    return `${name(graph, n)} = ${row(graph, n).name}(${called.join(", ")}) = ${value(graph, n)}`;
  }

  // Where a node was made, as "demo.py:12, MLP > Layer 2", and the text of that line.
  function place(graph, n) {
    if (!graph.line || graph.line[n] < 0) return { where: "", source: "" };
    const [file, line, source] = graph.facts.lines[graph.line[n]];
    const modules = graph.facts.modules[graph.module[n]].join(" > ");
    return { where: [`${file}:${line}`, modules].filter((part) => part).join(", "), source };
  }

  // ---- the chain rule -----------------------------------------------------------------------------------------------

  // What node n passes on in a pass, by input: words, the sum so far, the rule of the table, and the same at this node.
  function contributions(graph, pass, n) {
    const found = [];
    for (let e = graph.first[n]; e < graph.first[n + 1]; e++) {
      if (graph.flows[e]) found.push(graph.kind === "value" ? ofNumbers(graph, pass, n, e) : ofArrays(graph, pass, n, e));
    }
    return found;
  }

  function ofNumbers(graph, pass, n, e) {
    const x = graph.input[e];
    const local = `d${name(graph, n)}/d${name(graph, x)}`;
    const [g, slope, amount] = [pass.passed[n], graph.slope[e], pass.term[e]].map(short);
    const template = graph.facts.templates[graph.template[e]];
    const [named, inNumbers] = [name, value].map((told) => filledAt(graph, n, template, (y) => told(graph, y)));
    const cut = pass.mistake === "cut" && e === pass.cut;
    return {
      edge: e,
      input: x,
      parts: cut ? null : [slopeName(graph, x), slopeName(graph, n), local, g, slope, amount],
      words: cut
        ? `${slopeName(graph, x)} gets nothing here: this edge is cut`
        : `${slopeName(graph, x)} = ${slopeName(graph, n)} × ${local} = ${g} × ${slope} = ${amount}`,
      here: chain([local, named, inNumbers, slope]),
      formula: graph.facts.formulas[graph.template[e]],
      ...sums(graph, pass, n, e),
    };
  }

  function ofArrays(graph, pass, n, e) {
    const step = graph.facts.steps.find((each, i) => i > 0 && each.node === n);
    const known = step.edges.find((edge) => graph.first[n] + edge.position === e);
    const words = pass.mistake ? `${slopeName(graph, graph.input[e])} is now ${pass.after.get(e)}` : known.words;
    return { edge: e, input: graph.input[e], words, here: known.here, formula: known.formula, ...sums(graph, pass, n, e) };
  }

  // The sum of what has come to an input, up to and with this edge.
  function sums(graph, pass, n, e) {
    const x = graph.input[e];
    const uses = gradientUses(graph, x) + (x === graph.root ? 1 : 0);
    if (uses < 2) return { uses, use: 1, running: "" };
    const edges = chainrulePasses.arrived(graph, pass, x, pass.step[n] + 1);
    const use = edges.indexOf(e) + 1;
    if (use < 2) return { uses, use, running: "" };
    return { uses, use, running: graph.kind === "value" ? addition(pass, edges, use) : tensorAddition(graph, pass, n, e) };
  }

  function addition(pass, edges, use) {
    const before = edges.slice(0, use - 1).reduce((total, e) => total + pass.term[e], 0);
    const amount = pass.term[edges[use - 1]];
    if (pass.mistake === "assign") return `${short(pass.term[edges[use - 2]])} is overwritten by ${short(amount)}`;
    return `${short(before)} + ${bracketed(short(amount))} = ${short(before + amount)}`;
  }

  function tensorAddition(graph, pass, n, e) {
    if (pass.mistake === "assign") return `what was there is overwritten by ${pass.after.get(e)}`;
    const step = graph.facts.steps.find((each, i) => i > 0 && each.node === n);
    const known = step.edges.find((edge) => graph.first[n] + edge.position === e);
    return pass.mistake ? `now ${pass.after.get(e)}` : known.running;
  }

  // ---- the expression -----------------------------------------------------------------------------------------------

  const LOOSE = { add: 1, sub: 1, mul: 2, div: 2, matmul: 2, neg: 3, pow: 4 };
  const ATOM = 5;

  // The graph as one line of code: nested parts, each a text or {node, parts}; null where it would be too long. Results that
  // are used more than once are written by name, and follow as lines of their own.
  function expression(graph, longest = 160) {
    const lines = [];
    const queue = [graph.root];
    const asked = new Set(queue);
    let length = 0;
    while (queue.length) {
      const n = queue.shift();
      const line = written(
        graph,
        n,
        (x) => {
          if (!asked.has(x)) queue.push(x);
          asked.add(x);
        },
        longest - length,
      );
      if (!line) return null;
      length += line.length + 3;
      lines.push({ node: n, name: name(graph, n), parts: line.parts });
    }
    return lines;
  }

  // One line: the parts and how long they are. Every operation is charged for before its operands are looked at, so that the
  // length of a line ends the recursion.
  function written(graph, top, later, room) {
    let length = 0;
    const add = (text) => {
      length += text.length;
      if (length > room) throw TOO_LONG;
      return text;
    };
    const part = (n, least) => {
      if (n !== top && (isLeaf(graph, n) || isShared(graph, n))) {
        if (!isLeaf(graph, n)) later(n);
        return {
          node: n,
          parts: [add(name(graph, n))],
          level: isConstant(graph, n) && name(graph, n).startsWith("-") ? 3 : ATOM,
        };
      }
      const made = isLeaf(graph, n) ? { parts: [add(value(graph, n))], level: ATOM } : operation(n);
      return made.level < least ? { node: n, parts: [add("("), ...made.parts, add(")")] } : { node: n, ...made };
    };
    const operation = (n) => {
      const { symbol, name: called } = row(graph, n);
      const inputs = inputsOf(graph, n);
      const level = LOOSE[called];
      if (inputs.length === 2 && level) {
        const power = called === "pow";
        const right = called === "add" || called === "mul" ? level : level + 1;
        const sign = add(` ${symbol} `); // before its operands, so that a chain of a thousand of them ends here
        return { parts: [part(inputs[0], power ? ATOM : level), sign, part(inputs[1], power ? 4 : right)], level };
      }
      if (called === "neg") return { parts: [add("-"), part(inputs[0], 3)], level: 3 };
      const opening = add(`${called}(`);
      const listed = [...inputs].flatMap((x, i) => (i ? [add(", "), part(x, 0)] : [part(x, 0)]));
      return { parts: [opening, ...listed, add(")")], level: ATOM };
    };
    try {
      return { parts: [part(top, 0)], length };
    } catch (problem) {
      if (problem === TOO_LONG) return null;
      throw problem;
    }
  }

  const TOO_LONG = new Error("an expression that is too long to be shown");
  const isShared = (graph, n) => graph.useFirst[n + 1] - graph.useFirst[n] > 1;

  // ---- a subgraph in words ------------------------------------------------------------------------------------------

  const WIDEST = 72; // characters

  // What node n computes, as "tanh(sum of 16 products and a value)", as deep as it stays short.
  //
  // inside: which inputs still belong to it. widest: in characters. exact: whether constants are told by their number.
  function structure(graph, n, inside, { widest = WIDEST, exact = false } = {}) {
    for (let depth = 9; depth > 0; depth--) {
      const words = described({ graph, inside, exact }, n, depth);
      if (words.length <= widest || depth === 1) return words;
    }
    return "";
  }

  function described(about, n, depth) {
    const { graph, inside } = about;
    if (isLeaf(graph, n)) return outside(about, n);
    const { name: called } = row(graph, n);
    const inputs = [...inputsOf(graph, n)];
    const isSimple = inputs.every((x) => !inside(x) || isLeaf(graph, x));
    if (depth <= 0 && !isSimple) return "…";
    if (called === "add") return sumInWords(about, n, depth);
    const words = inputs.map((x) => (inside(x) ? described(about, x, depth - 1) : outside(about, x)));
    const plain = words.every((word) => word === "value");
    if (called === "mul") return productInWords(inputs, words, plain);
    if (called === "neg") return plain ? "opposite" : `-${parenthesised(words[0])}`;
    if (called === "pow" && isConstant(graph, inputs[1])) return powerInWords(words[0], graph.data?.[inputs[1]]);
    if (called === "sub") return plain ? "difference" : `${parenthesised(words[0])} − ${parenthesised(words[1])}`;
    if (called === "div") return plain ? "quotient" : `${parenthesised(words[0])} / ${parenthesised(words[1])}`;
    return `${called}(${words.join(", ")})`;
  }

  function outside({ graph, exact }, x) {
    if (!isConstant(graph, x)) return "value";
    return exact && (graph.kind === "value" || isNamed(graph, x)) ? name(graph, x) : "constant";
  }

  function productInWords(inputs, words, plain) {
    if (inputs[0] === inputs[1]) return words[0] === "value" ? "square" : `square of ${parenthesised(words[0])}`;
    if (plain) return "product";
    if (words.includes("constant")) {
      const other = words[0] === "constant" ? words[1] : words[0];
      return other === "value" ? "multiple" : `constant × ${parenthesised(other)}`;
    }
    return `${parenthesised(words[0])} × ${parenthesised(words[1])}`;
  }

  const parenthesised = (words) => (/[ ]/.test(words) && !/^\w+\(.*\)$/.test(words) ? `(${words})` : words);

  function powerInWords(base, exponent) {
    if (exponent === 2) return base === "value" ? "square" : `square of ${parenthesised(base)}`;
    return base === "value" ? "power" : `power of ${parenthesised(base)}`;
  }

  // The terms of a sum of sums, counted by what they are.
  function sumInWords(about, n, depth) {
    const { graph, inside } = about;
    const counts = new Map();
    let terms = 0;
    const stack = [n];
    const many = countTerms(about, n) > 3 ? { ...about, exact: false } : about; // constants differ from term to term
    while (stack.length && terms < MOST_TERMS) {
      const m = stack.pop();
      const isSum = (m === n || inside(m)) && !isLeaf(graph, m) && row(graph, m).name === "add";
      if (isSum) {
        stack.push(...[...inputsOf(graph, m)].reverse());
      } else {
        const word = inside(m) ? described(many, m, depth - 1) : outside(about, m);
        counts.set(word, (counts.get(word) ?? 0) + 1);
        terms++;
      }
    }
    return sumOf([...counts]);
  }

  const MOST_TERMS = 5000;

  function countTerms({ graph, inside }, n) {
    let terms = 1;
    const stack = [n];
    while (stack.length && terms < MOST_TERMS) {
      const m = stack.pop();
      if ((m !== n && !inside(m)) || isLeaf(graph, m) || row(graph, m).name !== "add") continue;
      terms++;
      stack.push(...inputsOf(graph, m));
    }
    return terms;
  }

  const PLURALS = {
    "…": "terms",
    value: "values",
    constant: "constants",
    product: "products",
    square: "squares",
    multiple: "multiples",
  };

  // Few terms as "a + b"; many as "sum of 16 products and a value".
  function sumOf(counts) {
    if (counts.length === 1 && counts[0][1] === 2 && counts[0][0] === "value") return "sum";
    const count = counts.reduce((sum, [, each]) => sum + each, 0);
    if (count < 4) return counts.flatMap(([word, each]) => Array(each).fill(word)).join(" + ");
    const said = counts
      .sort((a, b) => b[1] - a[1])
      .slice(0, 3)
      .map(([word, count]) =>
        count > 1
          ? `${grouped(count)} ${PLURALS[word] ?? `× ${parenthesised(word)}`}`
          : /^[a-z]+$/.test(word)
            ? `a ${word}`
            : word,
      );
    if (counts.length > 3) said.push("more");
    return said.length === 1 ? `sum of ${said[0]}` : `sum of ${said.slice(0, -1).join(", ")} and ${said[said.length - 1]}`;
  }

  return {
    number,
    short,
    counted,
    grouped,
    name,
    isNamed,
    value,
    slopeName,
    origin,
    place,
    contributions,
    expression,
    structure,
    bracketed,
  };
})();
