"""AlpacaEval 2: instructions, weighted judging, length-controlled win rates, published annotations."""
