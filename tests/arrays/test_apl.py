"""APL against what its documentation and Iverson's papers print, against numpy, and against torch by its own code."""

import ast
import contextlib
import math
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.arrays._apl_torch import computed, same
from kit.arrays.apl import AplError, Workspace, boxed, evaluate, torch_code

I6 = [[1, 2, 3], [4, 5, 6]]  # 2 3⍴⍳6
TAU = 2 * math.pi

# Expressions and their values: from the documentation of the glyph, Iverson's paper, or arithmetic done by hand.
SCALAR = [
    ("3+4", 7),
    ("1 2 3+10", [11, 12, 13]),
    ("10+1 2 3", [11, 12, 13]),
    ("1 2 3+4 5 6", [5, 7, 9]),
    ("2×3+4", 14),  # right to left, no precedence
    ("(2×3)+4", 10),
    ("10-5-2", 7),
    ("-5", -5),
    ("¯5", -5),
    ("--5", 5),
    ("3-¯4", 7),
    ("+7 8", [7, 8]),
    ("×¯3 0 4", [-1, 0, 1]),
    ("÷4", 0.25),
    ("7÷2", 3.5),
    ("0÷0", 1),
    ("2*10", 1024),
    ("2*¯1", 0.5),
    ("0*0", 1),
    ("¯2*3", -8),
    ("*0", 1),
    ("*1", math.e),
    ("⍟*3", 3),
    ("2⍟1024", 10),
    ("⌈2.1 ¯2.1 3", [3, -2, 3]),
    ("⌊2.9 ¯2.1 3", [2, -3, 3]),
    ("⌊100×1.15", 115),  # 114.99999999999999 within the comparison tolerance
    ("3⌈1 5", [3, 5]),
    ("3⌊1 5", [1, 3]),
    ("|¯4 4", [4, 4]),
    ("3|7", 1),
    ("3|¯7", 2),
    ("¯3|7", -2),
    ("0|5", 5),
    ("0.1|1", 0),
    ("!5", 120),
    ("!0.5", math.sqrt(math.pi) / 2),
    ("2!5", 10),
    ("5!2", 0),
    ("2!¯3", 6),  # (¯3 × ¯4) ÷ 2
    ("¯3!¯2", -2),
    ("0.5!1", 4 / math.pi),
    ("0 1 2 3 4!4", [1, 4, 6, 4, 1]),
    ("1 2 3=1 3 3", [1, 0, 1]),
    ("1=1.00000000000000001", 1),
    ("1=3×÷3", 1),
    ("0.3=0.1+0.2", 1),
    ("1≠2", 1),
    ("1 2 3<2", [1, 0, 0]),
    ("1 2 3≤2", [1, 1, 0]),
    ("1 2 3≥2", [0, 1, 1]),
    ("1 2 3>2", [0, 0, 1]),
    ("0.3>0.1+0.2", 0),
    ("0 0 1 1∧0 1 0 1", [0, 0, 0, 1]),
    ("0 0 1 1∨0 1 0 1", [0, 1, 1, 1]),
    ("0 0 1 1⍲0 1 0 1", [1, 1, 1, 0]),
    ("0 0 1 1⍱0 1 0 1", [1, 0, 0, 0]),
    ("12∨18", 6),
    ("12∧18", 36),
    ("~0 1", [1, 0]),
    ("'abc'='abd'", [1, 1, 0]),
    ("'a'=1", 0),
    ("'banana'='a'", [0, 1, 0, 1, 0, 1]),
    ("(,1)+1 2", [2, 3]),  # one element is extended, whatever its rank
    ("(1 1⍴5)+1 2", [6, 7]),
    ("1 2+(1 1⍴5)", [6, 7]),
    ("⍴(1 1⍴5)+,3", [1, 1]),
    ("¯.5E1", -5),
    ("1E3", 1000),
    ("''+1", []),
]
SHAPE = [
    ("⍳6", [1, 2, 3, 4, 5, 6]),
    ("⍳0", []),
    ("2 3⍴⍳6", I6),
    ("2 3⍴⍳4", [[1, 2, 3], [4, 1, 2]]),
    ("5⍴1 2", [1, 2, 1, 2, 1]),
    ("2 2⍴5", [[5, 5], [5, 5]]),
    ("⍬⍴7 8 9", 7),
    ("0⍴3", []),
    ("2 2⍴⍬", [[0, 0], [0, 0]]),
    ("⍴2 3⍴⍳6", [2, 3]),
    ("⍴⍴2 3 4⍴0", [3]),
    ("⍴5", []),
    ("⍴'hello'", [5]),
    ("⍴,5", [1]),
    ("≢3 1 4", 3),
    ("≢2 3⍴0", 2),
    ("≢7", 1),
    ("≡7", 0),
    ("≡1 2", 1),
    ("≡(1 2)(3 4)", 2),
    ("≡1(2 3)", -2),
    (",2 3⍴⍳6", [1, 2, 3, 4, 5, 6]),
    ("⍪1 2 3", [[1], [2], [3]]),
    ("⍴⍪2 3 4⍴0", [2, 12]),
    ("1 2,3", [1, 2, 3]),
    ("1 2,3 4", [1, 2, 3, 4]),
    ("(2 2⍴⍳4),9", [[1, 2, 9], [3, 4, 9]]),
    ("(2 2⍴⍳4),8 9", [[1, 2, 8], [3, 4, 9]]),
    ("0,2 2⍴⍳4", [[0, 1, 2], [0, 3, 4]]),
    ("(2 2⍴⍳4)⍪8 9", [[1, 2], [3, 4], [8, 9]]),
    ("1 2⍪3", [1, 2, 3]),
    ("'ab','cd'", "abcd"),
    ("'',1 2", [1, 2]),
    ("⍉2 3⍴⍳6", [[1, 4], [2, 5], [3, 6]]),
    ("⍴⍉2 3 4⍴0", [4, 3, 2]),
    ("⍴2 1 3⍉2 3 4⍴0", [3, 2, 4]),
    ("⍴2 3 1⍉2 3 4⍴0", [4, 2, 3]),  # axis k of the argument becomes axis left[k]
    ("1 1⍉3 3⍴⍳9", [1, 5, 9]),
    ("1 1⍉2 3⍴⍳6", [1, 5]),
    ("⌽1 2 3", [3, 2, 1]),
    ("⌽2 3⍴⍳6", [[3, 2, 1], [6, 5, 4]]),
    ("⊖2 3⍴⍳6", [[4, 5, 6], [1, 2, 3]]),
    ("⌽'stressed'", "desserts"),
    ("1⌽⍳5", [2, 3, 4, 5, 1]),
    ("¯1⌽⍳5", [5, 1, 2, 3, 4]),
    ("7⌽⍳5", [3, 4, 5, 1, 2]),
    ("0 1 2⌽3 3⍴⍳9", [[1, 2, 3], [5, 6, 4], [9, 7, 8]]),
    ("1⊖3 2⍴⍳6", [[3, 4], [5, 6], [1, 2]]),
    ("0 1⊖3 2⍴⍳6", [[1, 4], [3, 6], [5, 2]]),
    ("3↑⍳5", [1, 2, 3]),
    ("¯2↑⍳5", [4, 5]),
    ("5↑1 2", [1, 2, 0, 0, 0]),
    ("¯5↑1 2", [0, 0, 0, 1, 2]),
    ("3↑'ab'", "ab "),
    ("2 2↑3 3⍴⍳9", [[1, 2], [4, 5]]),
    ("1↑3 3⍴⍳9", [[1, 2, 3]]),
    ("2 2↑5", [[5, 0], [0, 0]]),
    ("2↓⍳5", [3, 4, 5]),
    ("¯2↓⍳5", [1, 2, 3]),
    ("9↓⍳5", []),
    ("1 ¯1↓3 3⍴⍳9", [[4, 5], [7, 8]]),
    ("2⌷10 20 30", 20),
    ("2 3⌷3 3⍴⍳9", 6),
    ("2⌷3 3⍴⍳9", [4, 5, 6]),
    ("(⊂3 1)⌷10 20 30", [30, 10]),
    ("10 20 30[2]", 20),
    ("'abcdef'[2 2⍴6 5 4 3]", ["fe", "dc"]),
    ("(3 3⍴⍳9)[2;3]", 6),
    ("(3 3⍴⍳9)[;2]", [2, 5, 8]),
    ("(3 3⍴⍳9)[1 3;2 3]", [[2, 3], [8, 9]]),
    ("⎕IO", 1),
    ("⍴⍬", [0]),
]
SEARCH = [
    ("3∊1 2 3", 1),
    ("1 9∊1 2 3", [1, 0]),
    ("'ab'∊'banana'", [1, 1]),
    ("(0.1+0.2)∊0.3 1", 1),
    ("∊(1 2)(3(4 5))", [1, 2, 3, 4, 5]),
    ("10 20 30⍳20 99", [2, 4]),
    ("'hello'⍳'l'", 3),
    ("1 2 1⍳1", 1),
    ("1 2 3⍳'a'", 4),
    ("⍋3 1 4 1 5", [2, 4, 1, 3, 5]),
    ("⍒3 1 4 1 5", [5, 3, 1, 2, 4]),  # both ways equal ones keep their order
    ("⍋'banana'", [2, 4, 6, 1, 3, 5]),
    ("⍋3 2⍴2 1 1 9 1 2", [3, 2, 1]),
    ("X[⍋X←3 1 2]", [1, 2, 3]),
    ("1 2 3 4~2 4", [1, 3]),
    ("1 2 3≡1 2 3", 1),
    ("1 2 3≡3 1⍴1 2 3", 0),
    ("1 2≢1 3", 1),
    ("''≡⍬", 0),
    ("⍬≡0⍴5", 1),
    ("1 0 1/10 20 30", [10, 30]),
    ("1 2 3/4 5 6", [4, 5, 5, 6, 6, 6]),
    ("2/4 5", [4, 4, 5, 5]),
    ("1 ¯2 1/4 5 6", [4, 0, 0, 6]),
    ("1 0 1/2 3⍴⍳6", [[1, 3], [4, 6]]),
    ("0 1⌿2 3⍴⍳6", [[4, 5, 6]]),
    ("3/7", [7, 7, 7]),
    ("1 0 1\\8 9", [8, 0, 9]),
    ("1 0 2\\8 9", [8, 0, 9, 9]),
    ("1 0 1⍀2 2⍴⍳4", [[1, 2], [0, 0], [3, 4]]),
    ("1 0 1\\'ab'", "a b"),
    ("10⊥1 2 3", 123),
    ("24 60 60⊥1 2 3", 3723),
    ("2⊥1 0 1 1", 11),
    ("24 60 60⊤3723", [1, 2, 3]),
    ("2 2 2 2⊤11", [1, 0, 1, 1]),
    ("0 10⊤123", [12, 3]),
    ("(4⍴2)⊤5 6", [[0, 0], [1, 1], [0, 1], [1, 0]]),
    ("⊃(1 2)(3 4)", [1, 2]),
    ("⊃5 6", 5),
    ("2⊃(1 2)(3 4)", [3, 4]),
    ("2 1⊃(1 2)(3 4)", 3),
    ("1⊣2", 1),
    ("1⊢2", 2),
]
OPERATORS = [
    ("+/⍳100", 5050),
    ("×/⍳5", 120),
    ("-/1 2 3 4", -2),  # 1-(2-(3-4))
    ("-/⍳5", 3),
    ("÷/8 4 2", 4),  # 8÷(4÷2)
    ("⌈/3 1 4 1 5", 5),
    ("⌊/3 1 4 1 5", 1),
    ("∧/1 1 0", 0),
    ("∨/1 1 0", 1),
    ("=/1 0 0", 1),
    ("+/2 3⍴⍳6", [6, 15]),
    ("+⌿2 3⍴⍳6", [5, 7, 9]),
    ("-⌿3 2⍴⍳6", [3, 4]),  # 1-(3-5), 2-(4-6)
    ("*/2 3 2", 512),  # 2*(3*2)
    ("+/⍬", 0),
    ("×/⍬", 1),
    ("∧/⍬", 1),
    ("∨/⍬", 0),
    ("-/⍬", 0),
    ("⌈/⍬", -np.finfo(float).max),
    ("⌊/⍬", np.finfo(float).max),
    ("+/0 3⍴0", []),
    ("+⌿0 3⍴0", [0, 0, 0]),
    ("+/5", 5),
    ("2+/1 2 3 4", [3, 5, 7]),
    ("2-/1 4 9 16", [-3, -5, -7]),
    ("¯2-/1 4 9 16", [3, 5, 7]),
    ("3⌈/3 1 4 1 5", [4, 4, 5]),
    ("2+⌿3 2⍴⍳6", [[4, 6], [8, 10]]),
    ("+\\1 2 3 4", [1, 3, 6, 10]),
    ("-\\1 2 3 4", [1, -1, 2, -2]),
    ("÷\\8 4 2", [8, 2, 4]),
    ("⌈\\3 1 4 1 5", [3, 3, 4, 4, 5]),
    ("∨\\0 0 1 0", [0, 0, 1, 1]),
    ("≠\\1 1 1 0", [1, 0, 1, 1]),
    ("<\\0 1 1 0", [0, 1, 0, 0]),  # the first 1 only
    ("+\\2 3⍴⍳6", [[1, 3, 6], [4, 9, 15]]),
    ("+⍀2 3⍴⍳6", [[1, 2, 3], [5, 7, 9]]),
    ("1 2 3+.×4 5 6", 32),
    ("(2 3⍴⍳6)+.×3 2⍴⍳6", [[22, 28], [49, 64]]),
    ("(2 3⍴⍳6)+.×1 0 1", [4, 10]),
    ("1 1+.×2 3⍴⍳6", [5, 7, 9]),
    ("⍴(2 3 4⍴0)+.×4 5 6⍴0", [2, 3, 5, 6]),
    ("3+.×1 2 3", 18),
    ("1 2 3∧.=1 2 3", 1),
    ("(2 3⍴'catdog')∧.='dog'", [0, 1]),
    ("(2 2⍴0 2 3 0)⌊.+2 2⍴0 2 3 0", [[0, 2], [3, 0]]),
    ("(2 2⍴1 0 1 1)∨.∧2 2⍴0 1 1 0", [[0, 1], [1, 1]]),
    ("1 2 3-.×4 5 6", 12),  # 4-(10-18)
    ("(⍳3)∘.×⍳4", [[1, 2, 3, 4], [2, 4, 6, 8], [3, 6, 9, 12]]),
    ("1 2∘.+10 20 30", [[11, 21, 31], [12, 22, 32]]),
    ("(⍳3)∘.=⍳3", [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    ("⍴(2 3⍴0)∘.+4 5⍴0", [2, 3, 4, 5]),
    ("2∘.×3 4", [6, 8]),
    ("≢¨(1 2)(3 4 5)", [2, 3]),
    ("+/¨(1 2)(3 4 5)", [3, 12]),
    ("(1 2)(3 4)+¨10 20", [[11, 12], [23, 24]]),
    ("⍳¨2 3", [[1, 2], [1, 2, 3]]),
    ("⊂1 2", [1, 2]),
    ("(1 2)(3 4 5)+1", [[2, 3], [4, 5, 6]]),
    ("⍴¨'ab' (2 2⍴0)", [[2], [2, 2]]),
    ("+⍨3", 6),
    ("2-⍨5", 3),
    ("÷⍨4", 1),
    ("3⍴⍨2", [3, 3]),
    ("∘.×⍨1 2 3", [[1, 2, 3], [2, 4, 6], [3, 6, 9]]),
    ("+/⍤1⊢2 3⍴⍳6", [6, 15]),
    ("+/⍤2⊢2 2 2⍴⍳8", [[3, 7], [11, 15]]),
    ("+⌿⍤2⊢2 2 2⍴⍳8", [[4, 6], [12, 14]]),
    ("10 20 30+⍤1⊢2 3⍴⍳6", [[11, 22, 33], [14, 25, 36]]),
    ("(2 3⍴⍳6)+⍤¯1⊢10 20", [[11, 12, 13], [24, 25, 26]]),
    ("10 20+⍤0 1⊢3 4", [[13, 14], [23, 24]]),
    ("{⍵[⍋⍵]}⍤1⊢2 3⍴3 1 2 9 7 8", [[1, 2, 3], [7, 8, 9]]),
    ("⌽⍤1⊢2 3⍴⍳6", [[3, 2, 1], [6, 5, 4]]),
    ("⍳⍤0⊢1 3", [[1, 0, 0], [1, 2, 3]]),  # filled up to the largest
    ("{2×⍵}⍣3⊢1", 8),
    ("2+⍣3⊢1", 7),
    ("{⍵}⍣0⊢5", 5),
    ("{⌊⍵÷2}⍣≡100", 0),
    ("{(⍵+2÷⍵)÷2}⍣≡1", math.sqrt(2)),
    ("⍴↑(1 2)(3 4 5)", [2, 3]),
    ("↑(1 2)(3 4 5)", [[1, 2, 0], [3, 4, 5]]),
    ("↓2 2⍴⍳4", [[1, 2], [3, 4]]),
    ("≡+/(1 2)(3 4)", 2),  # a scalar that holds a vector
    ("⍴2⊃(1 2)(3 4)", [2]),
    ("⍴2⌷(1 2)(3 4)", []),
    ("⍴(1 2)(3 4)[2]", [2]),  # the brackets belong to (3 4) alone
    ("⍴X[2]⊣X←(1 2)(3 4)", []),
    ("(⊂1 2),3 4", [[1, 2], 3, 4]),
    ("⍴⍤1⍀(1 2)(3 4 5)", [[1, 2], [[3, 4]]]),
    ("⊃,/(1 2)(3 4)", [1, 2, 3, 4]),
    ("⊃{⍺,⍵}/'ab' 'cd' 'ef'", "abcdef"),
]
DFNS = [
    ("{⍵×2}5", 10),
    ("3{⍺+⍵}4", 7),
    ("{⍵≤1:1⋄⍵×∇⍵-1}10", 3628800),
    ("{⍵≤2:1⋄(∇⍵-1)+∇⍵-2}15", 610),
    ("48{⍵=0:⍺⋄⍵∇⍵|⍺}18", 6),  # Euclid
    ("{x←⍵+1⋄x×x}3", 16),
    ("{⍺←10⋄⍺+⍵}1", 11),
    ("5{⍺←10⋄⍺+⍵}1", 6),
    ("avg←{(+/⍵)÷≢⍵}⋄avg 1 2 3 4", 2.5),
    ("(+/÷≢)1 2 3 4", 2.5),
    ("sum←+/⋄sum⍳10", 55),
    ("(-,+)3", [-3, 3]),
    ("7(+,-)2", [9, 5]),
    ("(1+÷)4", 1.25),
    ("(-⌊)2.5", -2),
    ("{0=⍵:'zero'⋄'other'}0", "zero"),
    ("⍝ nothing\n2+2 ⍝ four", 4),
    ("a←3⋄b←4⋄0.5*⍨(a*2)+b*2", 5),
    ("a←b←2⋄a×b", 4),
    ("1+x←4", 5),
    ("n←3⋄{⍵+n}1", 4),
    ("'don''t'", "don't"),
    ("0.5*⍨+/,(2 2⍴⍳4)*2", math.sqrt(30)),  # the Frobenius norm
]
# Iverson's paper: primes, Pascal's triangle, polynomials, the sum of integers twice, truth tables, permutations.
TOOL_OF_THOUGHT = [
    ("(2=+⌿0=(⍳30)∘.|⍳30)/⍳30", [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]),
    ("⍉(0,⍳4)∘.!0,⍳4", [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 2, 1, 0, 0], [1, 3, 3, 1, 0], [1, 4, 6, 4, 1]]),
    ("+/1 2 3×4*0 1 2", 57),  # 1 + 2×4 + 3×16
    ("4⊥⌽1 2 3", 57),
    ("+\\⍳5", [1, 3, 6, 10, 15]),
    ("(⌽⍳5)+⍳5", [6, 6, 6, 6, 6]),
    ("((+/⍳100)=0.5×100×101)", 1),
    ("+/5⍴6", 30),
    ("(⍳5)∘.≥⍳5", np.tril(np.ones((5, 5))).tolist()),
    ("2 2 2⊤¯1+⍳8", [[0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0, 1, 1], [0, 1, 0, 1, 0, 1, 0, 1]]),
    ("⍋2 4 1 3", [3, 1, 4, 2]),  # the inverse of a permutation
    ("2 4 1 3[⍋2 4 1 3]", [1, 2, 3, 4]),
    ("(2 4 1 3)[2 4 1 3]", [4, 3, 2, 1]),
    ("+/2*0,⍳9", 1023),
    ("x←1 0 1⋄y←1 1 0⋄(~x∧y)≡(~x)∨~y", 1),  # De Morgan
    ("(⌈/3 1 2)=-⌊/-3 1 2", 1),
    ("(1 2 3∘.×4 5)≡⍉4 5∘.×1 2 3", 1),
    ("A←2 2⍴1 1 1 0⋄A+.×A+.×A", [[3, 2], [2, 1]]),  # Fibonacci
    ("(3 3⍴0 1 0 0 0 1 0 0 0)∨.∧3 3⍴0 1 0 0 0 1 0 0 0", [[0, 0, 1], [0, 0, 0], [0, 0, 0]]),
    ("⌊0.5+100×÷3", 33),
    ("+/÷!0,⍳18", math.e),
    ("4×-/÷1+2×¯1+⍳2000", math.pi - 1 / 2000 + 0.25 / 2000**3),  # Leibniz, with the first terms of its remainder
]
KNOWN = SCALAR + SHAPE + SEARCH + OPERATORS + DFNS + TOOL_OF_THOUGHT


def as_lists(value):
    """What `run` gave as Python's own numbers, texts and lists."""
    if isinstance(value, list):
        return [as_lists(item) for item in value]
    if value.dtype.kind != "U":
        return value.tolist()
    return "".join(value.reshape(-1)) if value.ndim < 2 else [as_lists(row) for row in value]


def close(got, wanted):
    if isinstance(wanted, list):
        return isinstance(got, list) and len(got) == len(wanted) and all(map(close, got, wanted))
    return got == wanted if isinstance(wanted, str) else got == pytest.approx(wanted, rel=1e-13)


def test_there_are_150_expressions_and_more_all_different():
    assert len({text for text, _ in KNOWN}) == len(KNOWN) >= 150


@pytest.mark.parametrize(("text", "wanted"), KNOWN, ids=[text for text, _ in KNOWN])
def test_an_expression_has_its_known_value(text, wanted):
    got = as_lists(evaluate(text))
    assert close(got, wanted), f"{text} gave {got}"


# Against numpy, on random arrays


RNG = np.random.default_rng(0)
SHAPES = [(), (1,), (4,), (0,), (2, 3), (3, 1), (2, 0), (2, 3, 4)]
BY_NUMPY = [
    ("-A", np.negative),
    ("|A", np.abs),
    ("×A", np.sign),
    ("⌊A÷3", lambda a: np.floor(a / 3)),
    ("⌈A÷3", lambda a: np.ceil(a / 3)),
    ("7|A", lambda a: a % 7),
    ("A>2", lambda a: a > 2),
    ("2⌈A", lambda a: np.maximum(2, a)),
    (",A", np.ravel),
    ("⍴A", np.shape),
    ("≢,A", np.size),
    ("⍉A", np.transpose),
    ("⌽A", lambda a: a[..., ::-1] if a.ndim else a),
    ("⊖A", lambda a: a[::-1] if a.ndim else a),
    ("2⌽A", lambda a: np.roll(a, -2, -1) if a.ndim else a),
    ("+/A", lambda a: a.sum(-1) if a.ndim else a),
    ("+⌿A", lambda a: a.sum(0) if a.ndim else a),
    ("×/A", lambda a: a.prod(-1) if a.ndim else a),
    ("+\\A", lambda a: a.cumsum(-1) if a.ndim else a),
    ("⌈⍀A", lambda a: np.maximum.accumulate(a, 0) if a.ndim else a),
    ("A∘.-A", lambda a: np.subtract.outer(a, a)),
    ("A≡A", lambda a: 1),
    ("A=⍉⍉A", np.ones_like),
    ("∊A", np.ravel),
    ("A∊1 2 3", lambda a: np.isin(a, [1, 2, 3])),
]


@pytest.mark.parametrize(("text", "by_numpy"), BY_NUMPY, ids=[text for text, _ in BY_NUMPY])
def test_arrays_of_every_rank_give_what_numpy_gives(text, by_numpy):
    for shape in SHAPES:
        a = np.asarray(RNG.integers(-9, 10, shape), dtype=float)
        wanted = by_numpy(a)
        got = evaluate(text, A=a)
        assert got.shape == np.shape(wanted) and np.allclose(got, wanted), shape


def right_fold(function, cells):
    *rest, made = cells
    for cell in reversed(rest):
        made = function(cell, made)
    return made


@pytest.mark.parametrize(
    ("glyph", "function"),
    [("-", np.subtract), ("÷", np.divide), ("*", np.power), ("<", np.less), ("|", lambda x, y: y % x)],
)
@pytest.mark.parametrize(("slash", "axis"), [("/", -1), ("⌿", 0)])
def test_a_reduction_is_a_fold_from_the_right_and_a_scan_folds_each_start(glyph, function, slash, axis):
    a = RNG.integers(1, 3, (3, 4)).astype(float)
    cells = list(np.moveaxis(a, axis, 0))
    assert np.allclose(evaluate(f"{glyph}{slash}A", A=a), right_fold(function, cells))
    scan = "\\" if slash == "/" else "⍀"
    wanted = [right_fold(function, cells[:end]) for end in range(1, len(cells) + 1)]
    assert np.allclose(evaluate(f"{glyph}{scan}A", A=a), np.stack(wanted, axis))


@pytest.mark.parametrize(
    "shapes", [((4,), (4,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3, 4), (4, 5)), ((2, 3), (3, 4, 2))]
)
def test_inner_products_contract_the_last_axis_with_the_first_at_any_rank(shapes):
    a, b = (RNG.integers(-5, 6, shape).astype(float) for shape in shapes)
    assert np.array_equal(evaluate("A+.×B", A=a, B=b), np.tensordot(a, b, 1))
    pairs = a.reshape(*a.shape, *[1] * (b.ndim - 1)) + b
    assert np.array_equal(evaluate("A⌊.+B", A=a, B=b), pairs.min(a.ndim - 1))
    assert np.array_equal(evaluate("A{⍺⌊⍵}.{⍺+⍵}B", A=a, B=b), pairs.min(a.ndim - 1))


def test_a_matrix_product_of_rank_3_is_no_batched_one():
    a, b = np.ones((2, 3, 4)), np.ones((2, 4, 5))
    with pytest.raises(AplError, match="LENGTH ERROR: the last axis has 4, the first axis 2"):
        evaluate("A+.×B", A=a, B=b)
    assert (a @ b).shape == (2, 3, 5)


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2), (2, 3, 1), (1, 1, 2), (2, 1, 1), (1, 1, 1)])
def test_a_transpose_sends_axis_k_to_the_place_named_kth(order):
    a = RNG.random((2, 3, 4))
    got = evaluate(f"{' '.join(map(str, order))}⍉A", A=a)
    for index in np.ndindex(got.shape):
        assert got[index] == a[tuple(index[place - 1] for place in order)]
    assert got.shape == tuple(
        min(n for n, place in zip(a.shape, order, strict=True) if place == k + 1) for k in range(max(order))
    )


def test_scalar_extension_is_not_broadcasting():
    column, row = np.ones((3, 1)), np.ones(4)
    assert np.add(column, row).shape == (3, 4)
    for text, name in [("C+R", "RANK ERROR"), ("C+1 4⍴R", "LENGTH ERROR"), ("R+3⍴1", "LENGTH ERROR")]:
        with pytest.raises(AplError) as raised:
            evaluate(text, C=column, R=row)
        assert raised.value.name == name
    assert evaluate("C∘.+R", C=column, R=row).shape == (3, 1, 4)


def test_rolls_are_within_bounds_and_deals_are_permutations():
    rolled = evaluate("?1000⍴6")
    assert set(rolled.tolist()) == {1, 2, 3, 4, 5, 6} and np.bincount(rolled)[1:].min() > 120
    assert sorted(evaluate("52?52").tolist()) == list(range(1, 53)) and len(set(evaluate("5?9").tolist())) == 5
    assert 0 < float(evaluate("?0")) < 1


# Errors


ERRORS = [
    ("1 2 3+4 5", "LENGTH ERROR", 5),
    ("1 2+2 2⍴1", "RANK ERROR", 3),
    ("(2 2⍴1)+3 3⍴1", "LENGTH ERROR", 7),
    ("1÷0", "DOMAIN ERROR", 1),
    ("'a'+1", "DOMAIN ERROR", 3),
    ("0*¯1", "DOMAIN ERROR", 1),
    ("¯1*0.5", "NONCE ERROR", 2),
    ("⍟0", "DOMAIN ERROR", 0),
    ("!¯1", "DOMAIN ERROR", 0),
    ("1E308×10", "DOMAIN ERROR", 5),
    ("1E999", "DOMAIN ERROR", 0),
    ("~2", "DOMAIN ERROR", 0),
    ("0.5∧1", "NONCE ERROR", 3),
    ("⍳¯1", "DOMAIN ERROR", 0),
    ("⍳2.5", "DOMAIN ERROR", 0),
    ("⍳2 2⍴3", "RANK ERROR", 0),
    ("¯1⍴2", "DOMAIN ERROR", 2),
    ("⍳1E9", "WS FULL", 0),
    ("1E5 1E5⍴0", "WS FULL", 7),
    ("(16⍴1)⍴0", "LIMIT ERROR", 6),
    ("{⍵,⍵}⍣99⊢1", "WS FULL", 2),
    ("(⍳3000)∘.+⍳3000", "WS FULL", 7),
    ("1 2 3[4]", "INDEX ERROR", 5),
    ("1 2 3[0]", "INDEX ERROR", 5),
    ("4⌷1 2 3", "INDEX ERROR", 1),
    ("(2 2⍴1)[1]", "RANK ERROR", 7),
    ("1 2⌷1 2 3", "RANK ERROR", 3),
    ("nosuch", "VALUE ERROR", 0),
    ("1+nosuch×2", "VALUE ERROR", 2),
    ("⍵+1", "VALUE ERROR", 0),
    ("{}1", "VALUE ERROR", 0),
    ("{x←⍵}1", "VALUE ERROR", 0),
    ("1 2 3⌽4 5", "RANK ERROR", 5),
    ("1 2⌽3 3⍴1", "LENGTH ERROR", 3),
    ("1 2/1 2 3", "LENGTH ERROR", 3),
    ("1 1\\1 2 3", "LENGTH ERROR", 3),
    ("1 1 1⍉2 2⍴1", "LENGTH ERROR", 5),
    ("1 3⍉2 2⍴1", "DOMAIN ERROR", 3),
    ("1 2 3↑4 5", "LENGTH ERROR", 5),
    ("(2 2⍴1)⍳1", "RANK ERROR", 7),
    ("⍋5", "RANK ERROR", 0),
    ("(2 3⍴1)+.×2 3⍴1", "LENGTH ERROR", 8),
    ("(2 2⍴1),2 2 2 2⍴1", "RANK ERROR", 7),
    ("(2 2⍴1),1 2 3", "LENGTH ERROR", 7),
    ("{⍵}/⍬", "DOMAIN ERROR", 3),
    ("5+/1 2", "LENGTH ERROR", 2),
    ("{2:1⋄3}0", "DOMAIN ERROR", 1),
    ("3?2", "DOMAIN ERROR", 1),
    ("{∇⍵}1", "LIMIT ERROR", 0),
    ("a←1 2" + "⋄a←a 1" * 40, "LIMIT ERROR", 0),
    ("((1", "SYNTAX ERROR", 1),
    ("1)", "SYNTAX ERROR", 1),
    ("{1", "SYNTAX ERROR", 0),
    ("()", "SYNTAX ERROR", 0),
    ("1+", "SYNTAX ERROR", 1),
    ("+", "SYNTAX ERROR", 0),
    ("∘.+3", "SYNTAX ERROR", 0),
    ("+.×3", "SYNTAX ERROR", 1),
    ("1+\\2", "SYNTAX ERROR", 2),
    ("1⍪⍨", "SYNTAX ERROR", 2),
    ("¨1", "SYNTAX ERROR", 0),
    ("+⍤", "SYNTAX ERROR", 1),
    ("+.(1)", "SYNTAX ERROR", 1),
    ("'abc", "SYNTAX ERROR", 0),
    ("1.2.3", "SYNTAX ERROR", 3),
    ("¯", "SYNTAX ERROR", 0),
    ('3"4', "SYNTAX ERROR", 1),
    ("←1", "NONCE ERROR", 0),
    ("⍵←1", "SYNTAX ERROR", 0),
    ("a:b", "SYNTAX ERROR", 1),
    ("∇1", "SYNTAX ERROR", 0),
    ("f←+⋄f", "SYNTAX ERROR", 4),
    ("1+(f←+)", "SYNTAX ERROR", 3),
    ("1 2[+]", "SYNTAX ERROR", 4),
    ("a[1]←2", "NONCE ERROR", 4),
    ("+/[1]2", "NONCE ERROR", 2),
    ("○1", "NONCE ERROR", 0),
    ("⎕←1", "NONCE ERROR", 0),
    ("1J2", "NONCE ERROR", 1),
    ("{⍺⍺}", "NONCE ERROR", 1),
    ("+∘×1", "NONCE ERROR", 1),
    ("2+⍣¯1⊢3", "NONCE ERROR", 2),
]


@pytest.mark.parametrize(("text", "name", "position"), ERRORS, ids=[text for text, *_ in ERRORS])
def test_an_error_has_apls_name_words_and_a_place(text, name, position):
    with pytest.raises(AplError) as raised:
        evaluate(text)
    error = raised.value
    assert (error.name, error.position) == (name, position), error
    assert error.caret == f"{text}\n{' ' * position}^" and len(error.message) > 5


def test_the_caret_stands_in_the_line_that_failed_also_if_it_was_typed_before():
    workspace = Workspace()
    workspace.run("a←1\nf←{⍵÷0}")
    with pytest.raises(AplError) as raised:
        workspace.run("f 3")
    assert raised.value.caret == "f←{⍵÷0}\n    ^"
    with pytest.raises(AplError) as raised:
        workspace.run("a\n1 2+a\n  a+1 2⌷3")
    assert raised.value.caret == "  a+1 2⌷3\n       ^"


def test_a_run_that_does_not_end_is_ended(monkeypatch):
    monkeypatch.setattr(Workspace, "seconds", 0.2)
    for text in ("{⍵+1}⍣{0}1", "{⍵}¨⍳4E6", "{⍵}⍣1E15⊢1", "{1}⍤0⊢⍳1E6"):
        with pytest.raises(AplError, match=r"LIMIT ERROR: more than 0.2 s of work"):
            evaluate(text)


def test_a_run_can_be_interrupted_from_another_thread():
    workspace = Workspace()
    threading.Timer(0.2, workspace.interrupt).start()
    began = time.monotonic()
    with pytest.raises(AplError, match="INTERRUPT"):
        workspace.run("{⍵+1}⍣{0}1")
    assert time.monotonic() - began < 5 and workspace.run("1+1") == 2


def test_recursion_as_deep_as_the_factorial_of_20_works_and_endless_recursion_is_said():
    assert evaluate("{⍵≤1:1⋄⍵×∇⍵-1}20") == math.factorial(20)
    for text in ("{∇⍵}1", "{(∇⍵),∇⍵}1", "f←{g ⍵}⋄g←{f ⍵}⋄f 1", "(" * 5000 + "1" + ")" * 5000, "-" * 5000 + "1"):
        with pytest.raises(AplError, match="LIMIT ERROR: functions or brackets nested too deep"):
            evaluate(text)


# Whatever is typed


ATOMS = [*"+-×÷*⍟⌈⌊|!=≠<≤>≥∧∨⍲⍱~?⍳⍴⍉⌽⊖,⍪↑↓⌷∊⍋⍒≡≢⊂⊃⊢⊣⊥⊤/⌿\\⍀¨⍨.⍤⍣∘()[]{};←:⋄⍺⍵∇⍬¯'"]
ATOMS += [
    "1",
    "2 3",
    "0",
    "¯1",
    "2.5",
    "'ab'",
    "a",
    "b",
    "f",
    "∘.",
    "(⍳3)",
    "(2 2⍴⍳4)",
    "{⍵}",
    "{⍺+⍵}",
    "⍣2",
    "⍤1",
    "a←",
    "1E9",
]
ODD = ["\n", " ", "\0", "é", "💥", "\u202e", "\\n", "⎕", "⍎", "\ud800", "1e99999", "£", "__class__", "%s", "\t", "⍝"]


VERBS = [*"+-×÷⌈⌊|=≠<≤∧∨⍴⍳⍉⌽⊖,⍪↑↓⌷∊⍋⍒≡≢⊂⊃⊥⊤~!/\\⌿⍀?*⍟⊢"]
VERBS += ["+/", "-\\", "+.×", "∘.=", ",⍨", "⌽¨", "+⌿", "⍴⍤1", "{⍵}¨", "∨.∧", "2+/"]
NOUNS = ["1", "0", "¯2", "2.5", "1 2 3", "⍬", "(2 3⍴⍳6)", "'abc'", "(1 2)(3 4 5)", "(2 2 2⍴⍳8)", "''", "a", "5"]
FUZZ = settings(max_examples=4000, deadline=None, derandomize=True, database=None)


@st.composite
def sentences(draw):
    """Functions and arguments in the order of APL, so that most of it runs."""
    parts = draw(st.lists(st.tuples(st.sampled_from(["", *NOUNS]), st.sampled_from(VERBS)), min_size=1, max_size=5))
    return " ".join(word for part in parts for word in part if word) + " " + draw(st.sampled_from(NOUNS))


TEXTS = {
    "words of APL in no order": st.lists(st.sampled_from(ATOMS), min_size=1, max_size=14).map("".join),
    "sentences": sentences(),
    "characters of any kind": st.lists(st.one_of(st.sampled_from([*ATOMS, *ODD]), st.characters()), max_size=20).map(
        "".join
    ),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_four_thousand_texts_of_each_kind_give_a_value_or_an_error_of_apl(kind, monkeypatch):
    monkeypatch.setattr(Workspace, "seconds", 0.5)
    workspace, ran = Workspace(a=[[1, 2], [3, 4]], f=3), []

    @FUZZ
    @given(TEXTS[kind])
    def run(text):
        try:
            value = workspace.value(text)
        except AplError as error:
            assert error.position is not None and error.caret.count("\n") == 1
            return
        ran.append(text)
        with contextlib.suppress(AplError):
            assert ast.parse(workspace.torch_code(text))
        assert value is None or value.dtype.kind in "fUO"
        assert value is None or isinstance(boxed(value), str)

    run()
    assert len(ran) > {"words of APL in no order": 80, "sentences": 800, "characters of any kind": 20}[kind]


# In torch


def torch_of(text):
    """(code, whether torch's result is APL's), or None where there is no code."""
    try:
        code = torch_code(text)
    except AplError as error:
        assert error.name == "NONCE ERROR"
        return None
    return code, same(computed(code, {}), np.asarray(evaluate(text)))


def test_torch_agrees_on_every_known_expression_that_has_code():
    found = {text: torch_of(text) for text, _ in KNOWN if Workspace().value(text) is not None}
    assert [text for text, made in found.items() if made and not made[1]] == []
    assert sum(made is not None for made in found.values()) > 170


def test_torch_agrees_on_random_sentences_that_have_code():
    agreed = []

    @settings(FUZZ, max_examples=1500)
    @given(sentences().map(lambda text: text.replace("a", "2").replace("?", "-")))
    def run(text):
        try:
            evaluate(text)
        except AplError:
            return
        made = torch_of(text)
        assert made is None or made[1], made
        agreed.extend([text] if made else [])

    run()
    assert len(agreed) > 120


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("⍳6", "torch.arange(1, 7)"),
        ("2 3⍴⍳6", "torch.arange(1, 7).reshape(2, 3)"),
        ("2 3⍴⍳4", "torch.arange(1, 5)[torch.arange(6) % 4].reshape(2, 3)"),
        ("A+.×B", "A @ B"),
        ("C+.×B", "torch.tensordot(C, B, 1)"),
        ("A∘.=B", "A[..., None, None] == B"),
        ("A⌊.+B", "(A[..., None] + B).amin(-2)"),
        ("⍉A", "A.T"),
        ("+/A", "A.sum(-1)"),
        ("+⌿A", "A.sum(0)"),
        ("-/V", "V[::2].sum() - V[1::2].sum()"),
        ("0.5*⍨+/,A*2", "(A ** 2).flatten().sum() ** 0.5"),
        ("avg←{(+/⍵)÷≢⍵}⋄avg V", "V.sum() / len(V)"),
        ("(+/÷≢)V", "V.sum() / len(V)"),
        ("M←A⋄⌈/M", "M = A\nM.amax(-1)"),
        ("A+⍤1⊢V", "torch.vmap(lambda x, y: x + y, in_dims=(0, None))(A, V)"),
        ("A[2;]", "A[1, :]"),
        ("-/A", "A[..., ::2].sum(-1) - A[..., 1::2].sum(-1)"),
    ],
)
def test_the_code_is_what_one_writes_in_torch(text, code):
    arrays = {"A": np.arange(6.0).reshape(2, 3), "B": np.arange(12.0).reshape(3, 4), "V": np.arange(3.0)}
    arrays["C"] = np.arange(24.0).reshape(4, 2, 3)
    assert torch_code(text, **arrays) == code
    assert same(computed(code, arrays), np.asarray(evaluate(text, **arrays)))


def test_what_torch_would_get_wrong_has_no_code():
    for text in ("×/⍳25", "'a'='b'", "?6", "(1 2)(3 4)", "1 2⍳2", "A+.×A←2 2⍴1", "5↑1 2", "1 2{⍵}¨5"):
        with pytest.raises(AplError, match="NONCE ERROR"):
            torch_code(text)


def test_a_difference_from_torch_is_seen():
    assert not same(np.array([1.0, 2.0]), np.array([[1.0, 2.0]]))
    assert not same(np.array([1.0]), np.array([1.001])) and same(np.array([True]), np.array([1.0]))


# Python's values


def test_python_values_come_in_and_go_out():
    assert evaluate("A+1", A=torch.eye(2, requires_grad=True)).tolist() == [[2, 1], [1, 2]]
    assert evaluate("⌽s", s="abc").tolist() == ["c", "b", "a"]
    assert evaluate("x", x=True) == 1 and evaluate("x", x=[[1, 2], [3, 4]]).dtype == np.int64
    assert evaluate("x÷2", x=np.int8(3)).dtype == np.float64 and evaluate("x←3") is None and evaluate("") is None
    assert evaluate("(1 2)'ab'")[1].tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([[1], [2, 3]], "x: got lists of different lengths, wanted rows of equal length"),
        (1j, "x: got complex of complex128, wanted numbers, a text or a tensor of numbers"),
        (None, "x: got NoneType of object"),
        (float("nan"), "x: got NaN or infinity, wanted finite numbers"),
        ({}, "x: got dict of object"),
    ],
)
def test_what_is_no_array_is_refused(value, words):
    with pytest.raises(TypeError, match=words):
        evaluate("x", x=value)


@pytest.mark.parametrize("shape", [(5000, 1000), (1,) * 16])
def test_arrays_too_large_for_the_workspace_are_refused(shape):
    with pytest.raises(ValueError, match=r"x: got shape \(\d+, .*\), wanted at most 4194304 cells and 15 axes"):
        evaluate("x", x=np.zeros(shape, dtype=np.int8))


def test_a_text_that_is_none_is_refused():
    with pytest.raises(TypeError, match="text: got int, wanted APL as a str"):
        evaluate(3)


def test_names_stay_in_a_workspace_and_a_dfns_own_do_not():
    workspace = Workspace(a=2)
    assert workspace.run("b←a+1") is None and workspace.run("b×{a←10⋄a+⍵}1") == 33
    assert workspace.run("a") == 2 and workspace.names == {"a": "scalar", "b": "scalar"} and workspace.array("b") == 3
    workspace.torch_code("c←a")
    assert "c" not in workspace.names


def test_a_value_is_described_in_words():
    workspace = Workspace()
    workspace.run("s←5⋄v←⍳3⋄m←2 3⍴0⋄t←'ab'⋄n←(1 2)3⋄f←+/⋄e←⊂1 2")
    assert list(workspace.names.values()) == [
        *("scalar", "shape 3", "shape 2 3", "text, shape 2", "nested, shape 2", "function", "nested, scalar")
    ]


# As APL prints it


PRINTED = [
    ("2 3⍴⍳6", "1 2 3\n4 5 6"),
    ("(⍳3)∘.×⍳4", "1 2 3  4\n2 4 6  8\n3 6 9 12"),
    ("¯1.5 2 1E9 1E10,÷3", "¯1.5 2 1000000000 1E10 0.3333333333"),
    ("2 2⍴1.5 2 3 ¯40", "1.5   2\n3   ¯40"),
    ("2*40 ¯40", "1.099511628E12 9.094947018E¯13"),
    ("2 3⍴'abcdef'", "abc\ndef"),
    ("⍬", ""),
    ("0 3⍴0", ""),
    ("5", "5"),
    ("-0 1", "0 ¯1"),  # APL has no ¯0
    ("⌈¯0.5", "0"),
    ("'a'", "a"),
    ("2 2 2⍴⍳8", "1 2\n3 4\n\n5 6\n7 8"),
    ("(1 2)'abc' 3", "┌───┬───┬─┐\n│1 2│abc│3│\n└───┴───┴─┘"),
    ("2 2⍴(1 2)3 'a'(2 2⍴⍳4)", "┌───┬───┐\n│1 2│3  │\n├───┼───┤\n│a  │1 2│\n│   │3 4│\n└───┴───┘"),
    ("⊂1(2 3)", "┌───────┐\n│┌─┬───┐│\n││1│2 3││\n│└─┴───┘│\n└───────┘"),
]


@pytest.mark.parametrize(("text", "printed"), PRINTED, ids=[text for text, _ in PRINTED])
def test_an_array_is_printed_as_apl_prints_it(text, printed):
    assert boxed(Workspace().value(text)) == printed


def test_a_large_array_is_printed_in_part():
    lines = boxed(Workspace().value("1000 1000⍴1")).split("\n")
    assert len(lines) == 60 and lines[-1] == "…" and len(lines[0]) == 200 and lines[0].endswith("…")
